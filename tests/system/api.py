"""The agent's API from outside: each answer is held against docs/api/agent.openapi.yaml."""

import functools
import http.client
import json
import re
import socket
import time
from urllib.parse import urlsplit

import jsonschema
import yaml

from harness import DEADLINE, ROOT


@functools.lru_cache
def description():
    return yaml.safe_load((ROOT / "docs/api/agent.openapi.yaml").read_text())


def resolve(node):
    while "$ref" in node:
        target = description()
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def operation_of(method, path):
    """The operation of the description that a path belongs to; None where there is none."""
    for template, item in description()["paths"].items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", template)
        if re.fullmatch(pattern, path) and method.lower() in item:
            return item[method.lower()]
    return None


def check_answer(method, path, answer):
    """Fails where the description does not have such an answer."""
    operation = operation_of("GET" if method == "HEAD" else method, path)
    responses = operation["responses"] if operation else \
        {"default": {"$ref": "#/components/responses/Problem"}}
    expected = resolve(responses.get(str(answer.status), responses["default"]))
    media = answer.headers["Content-Type"].split(";")[0]
    assert media in expected["content"], \
        f"{method} {path}: {answer.status} with {media} is not described"
    if media.endswith("json") and method != "HEAD":
        schema = {**expected["content"][media]["schema"],
                  "components": description()["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json())
    if media == "application/problem+json" and method != "HEAD":
        assert answer.json()["status"] == answer.status


class Answer:
    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode()


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout=DEADLINE):
        super().__init__("agent", timeout=timeout)
        self._path = str(path)

    def connect(self):
        self.sock = connect(self._path, self.timeout)


def connect(path, timeout=DEADLINE):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(timeout)
    s.connect(str(path))
    return s


class Api:
    def __init__(self, agent, path=None):
        self.socket = path or agent.runtime_dir / "agent.sock"
        agent.wait(self.is_up, "the API's socket")

    def is_up(self):
        try:
            connect(self.socket).close()
            return True
        except OSError:
            return False

    def request(self, method, path, body=None, headers=None):
        connection = Connection(self.socket)
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        connection.request(method, path, body=body, headers=headers or {})
        answer = Answer(connection.getresponse())
        connection.close()
        check_answer(method, urlsplit(path).path, answer)
        return answer

    def get(self, path, status=200):
        answer = self.request("GET", path)
        assert answer.status == status, answer.text
        return answer.json() if "json" in answer.headers["Content-Type"] else answer.text

    def app(self, name):
        return self.get(f"/v1/applications/{name}")

    def workload(self, app, name):
        return next(w for w in self.app(app)["workloads"] if w["name"] == name)

    def follow(self, path, headers=None):
        return Follower(self.socket, path, headers)


class Follower:
    """An answer that goes on, line by line."""

    def __init__(self, path, target, headers=None):
        self.connection = Connection(path)
        self.connection.request("GET", target, headers=headers or {})
        self.response = self.connection.getresponse()
        assert self.response.status == 200

    def line(self):
        return self.response.readline().decode().rstrip("\n")

    def until(self, text):
        """Reads on to a line that holds the text; all lines so far."""
        lines = []
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            lines.append(self.line())
            if text in lines[-1]:
                return lines
        raise AssertionError(f"{text!r} never came")

    def event(self):
        """The next server-sent event's data."""
        while True:
            line = self.line()
            if line.startswith("data: "):
                return json.loads(line.removeprefix("data: "))

    def close(self):
        self.connection.close()
