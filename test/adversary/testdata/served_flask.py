"""A site of Flask, whose own router chooses."""
import json
import logging
import sys

import flask

app = flask.Flask(__name__)
logging.getLogger("werkzeug").disabled = True


def served(route):
    flask.request.get_data()  # a connection must not be closed upon a body
    vouched = {k: v for k, v in flask.request.environ.items() if k.startswith("HTTP_X_VERIFIED_")}
    vouched.update({k: v for k, v in flask.request.headers if k.upper().startswith("X-VERIFIED-")})
    return {"routes": {"@app.route": route}, "headers": vouched, "cookies": json.dumps(flask.request.cookies)}


@app.route("/account", methods=["GET", "POST"])
@app.route("/account/", methods=["GET", "POST"])
@app.route("/account/<path:p>", methods=["GET", "POST"])
def account(p=""):
    return served("account")


@app.route("/transfer", methods=["GET", "POST"])
@app.route("/transfer/", methods=["GET", "POST"])
@app.route("/transfer/<path:p>", methods=["GET", "POST"])
def transfer(p=""):
    return served("transfer")


@app.route("/assets", methods=["GET", "POST"])
@app.route("/assets/", methods=["GET", "POST"])
@app.route("/assets/<path:p>", methods=["GET", "POST"])
def assets(p=""):
    return served("assets")


@app.route("/health", methods=["GET", "POST"])
def health():
    return served("health")


@app.route("/", methods=["GET", "POST"])
@app.route("/<path:p>", methods=["GET", "POST"])
def public(p=""):
    # no <path:p> begins with a slash: /assets//x comes here, as a page of that name
    return served("assets" if p.startswith("assets//") else "public")


app.run("127.0.0.1", int(sys.argv[1]), threaded=True)
