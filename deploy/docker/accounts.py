"""Accounts in Elasticsearch, made once: weibowatch's own, which may touch nothing but its indices, and Kibana's.

Standard library only, so that any Python runs it:
``ELASTIC_URL=... ELASTIC_PASSWORD=... WEIBOWATCH_ELASTIC__PASSWORD=... KIBANA_PASSWORD=... python accounts.py``.
Doing it again changes nothing but passwords that changed. Exit codes: 0 done, 1 refused or no answer in time.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

WAIT_S_MAX: Final = 180.0
PAUSE_S: Final = 2.0
ROLE: Final = "weibowatch"


class Refused(Exception):
    """Elasticsearch answered, and trying again does not help."""


def requests(environment: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """(path, body) of what is sent, in order. ``KIBANA_PASSWORD`` may be absent. Raises ``KeyError``."""
    prefix = environment.get("WEIBOWATCH_ELASTIC__PREFIX", "weibowatch")
    role = {
        "cluster": ["monitor", "manage_index_templates", "manage_ilm"],
        "indices": [{"names": [f"{prefix}*"], "privileges": ["all"]}],
    }
    user = {"password": environment["WEIBOWATCH_ELASTIC__PASSWORD"], "roles": [ROLE]}
    found: list[tuple[str, dict[str, Any]]] = [
        (f"_security/role/{ROLE}", role),
        (f"_security/user/{environment.get('WEIBOWATCH_ELASTIC__USERNAME', 'weibowatch')}", user),
    ]
    if environment.get("KIBANA_PASSWORD"):
        found.append(("_security/user/kibana_system/_password", {"password": environment["KIBANA_PASSWORD"]}))
    return found


def put(url: str, path: str, body: Mapping[str, Any], password: str) -> None:
    """Send one request. Raises ``Refused``, or ``OSError`` where trying again may help."""
    given = base64.b64encode(f"elastic:{password}".encode()).decode()
    request = urllib.request.Request(
        f"{url.rstrip('/')}/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Basic {given}"},
        method="PUT",
    )
    try:
        urllib.request.urlopen(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(500).decode("utf-8", "replace")
        if error.code < 500 and error.code != 429:
            raise Refused(f"PUT {path}: {error.code} {said}") from error
        raise OSError(f"PUT {path}: {error.code} {said}") from error


def main(environment: Mapping[str, str], *, wait_s_max: float = WAIT_S_MAX, pause_s: float = PAUSE_S) -> int:
    """Send everything, waiting for Elasticsearch where it is not there yet. Returns the exit code."""
    until = time.monotonic() + wait_s_max
    try:
        url, password = environment["ELASTIC_URL"], environment["ELASTIC_PASSWORD"]
        todo = requests(environment)
    except KeyError as error:
        print(f"accounts: {error.args[0]} must be set", file=sys.stderr)
        return 1
    while todo:
        try:
            put(url, *todo[0], password)
        except Refused as error:
            print(f"accounts: {error}", file=sys.stderr)
            return 1
        except OSError as error:
            if time.monotonic() > until:
                print(f"accounts: no answer from {url} within {wait_s_max:.0f} s: {error}", file=sys.stderr)
                return 1
            time.sleep(pause_s)
        else:
            print(f"accounts: {todo.pop(0)[0]} is set")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
