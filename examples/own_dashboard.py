"""A dashboard of one's own: python own_dashboard.py http://127.0.0.1:8400 [HOW OFTEN]"""

import os
import sys
import time

import urllib3
from rich.live import Live
from rich.table import Table

url, times = sys.argv[1].rstrip("/"), int(sys.argv[2]) if len(sys.argv) > 2 else 10**9
token = os.environ.get("TOKEN")  # of whoever signs in; a dashboard on loopback asks for none
headers = {"Authorization": f"Bearer {token}"} if token else {}

with Live(auto_refresh=False) as screen:
    for _ in range(times):
        answer = urllib3.request("GET", f"{url}/api/v1/devices?sort=last_seen", headers=headers)
        if answer.status == 200:
            page, headers["If-None-Match"] = answer.json(), answer.headers["ETag"]
            table = Table("device", "status", "values", title=f"{page['total']} devices")
            for one in page["devices"]:
                values = ", ".join(f"{name} {at['v']:g}" for name, at in one["metrics"].items())
                table.add_row(one["device"], one["status"], values)
            screen.update(table, refresh=True)
        elif answer.status != 304:  # 304: nothing changed since
            sys.exit(f"{answer.status}: {answer.json()['error']}")
        time.sleep(2)
