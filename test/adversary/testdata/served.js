// A site of Node that says which route it chooses by each of the ways in which
// programs read req.url.
'use strict';
const http = require('node:http');
const path = require('node:path');

function route(p) {
	const found = /^\/(account|transfer|assets)(?:\/|$)/.exec(p);
	if (found) return found[1];
	return p === '/health' ? 'health' : 'public';
}

// attempt is the route of what read returns, or none where it cannot be read.
function attempt(read) {
	try {
		return route(read());
	} catch {
		return 'none';
	}
}

http.createServer((req, res) => {
	const target = req.url.split('?')[0];
	const whatwg = () => new URL(req.url, 'http://localhost').pathname;
	const routes = {
		'req.url': attempt(() => target),
		'decodeURIComponent(req.url)': attempt(() => decodeURIComponent(target)),
		'path.normalize': attempt(() => path.posix.normalize(decodeURIComponent(target))),
		'path.win32.normalize': attempt(() => path.win32.normalize(decodeURIComponent(target)).replaceAll('\\', '/')),
		'new URL': attempt(whatwg),
		'decodeURIComponent(new URL)': attempt(() => decodeURIComponent(whatwg())),
		'new URL(decodeURIComponent)': attempt(() => new URL(decodeURIComponent(req.url), 'http://localhost').pathname),
		'new URL of the host and req.url': attempt(() => new URL('http://localhost' + req.url).pathname),
	};
	const answer = () => {
		const headers = {};
		for (const all of [req.headers, req.trailers]) {
			for (const name in all) {
				if (name.startsWith('x-verified-')) headers[name] = all[name];
			}
		}
		res.setHeader('Content-Type', 'application/json');
		res.end(JSON.stringify({ routes, headers, cookies: req.headers.cookie ?? '' }));
	};
	req.resume().on('end', answer);
}).listen(Number(process.argv[2]), '127.0.0.1');
