"""A browser command for --browser, which signs in as the robot does: `robot_browser.py METHOD allow|deny URL`."""

from __future__ import annotations

import asyncio
import os
import sys

from kirotunnel.sandbox.robot import sign_in


def main() -> None:
    # A real browser command returns at once, or stays; the robot walks on in the background like the former.
    method, decision, url = sys.argv[1], sys.argv[2], sys.argv[3]
    if os.fork():
        return
    report = asyncio.run(
        sign_in(url, method=method, decision=decision, start_url="https://acme.awsapps.com/start", region="us-east-1")
    )
    if log := os.environ.get("ROBOT_LOG"):
        with open(log, "a", encoding="utf-8") as out:
            out.write(f"{report.ok} {report.problem} {report.steps}\n")


if __name__ == "__main__":
    main()
