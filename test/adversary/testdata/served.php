<?php
// Says what reached a page: which index.php the server chose, and what a front
// controller makes of the address.

function route($path)
{
    if (preg_match('~^/(account|transfer|assets)(?:/|\z)~', (string) $path, $found)) {
        return $found[1];
    }
    return $path === '/health' ? 'health' : 'public';
}

$uri = $_SERVER['REQUEST_URI'];
$path = parse_url($uri, PHP_URL_PATH);
$is_vouched = fn($name) => str_starts_with($name, 'HTTP_X_VERIFIED_');
header('Content-Type: application/json');
echo json_encode([
    'routes' => [
        'index.php' => $route,
        'REQUEST_URI' => route(strtok($uri, '?')),
        'PATH_INFO' => route(($route === 'public' ? '' : "/$route") . ($_SERVER['PATH_INFO'] ?? '')),
        'parse_url' => route($path),
        'parse_url(urldecode)' => route(parse_url(urldecode($uri), PHP_URL_PATH)),
        'rawurldecode(parse_url)' => route(rawurldecode((string) $path)),
        'urldecode(parse_url)' => route(urldecode((string) $path)),
    ],
    'headers' => (object) array_filter($_SERVER, $is_vouched, ARRAY_FILTER_USE_KEY),
    'cookies' => json_encode($_COOKIE, JSON_INVALID_UTF8_SUBSTITUTE),
], JSON_INVALID_UTF8_SUBSTITUTE);
