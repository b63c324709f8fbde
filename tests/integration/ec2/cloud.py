"""AWS as these tests have it: moto's EC2, and before it a door that answers what moto cannot, or refuses."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

Answer = tuple[int, str, str]
"""Status, content type, body."""


def ec2_error(code: str, message: str, status: int = 403) -> Answer:
    body = f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors></Response>"
    return status, "text/xml", body


def json_error(code: str, message: str) -> Answer:
    return 400, "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message})


@dataclass
class Cloud:
    """The services. `says` has answers by action, before moto is asked."""

    process: subprocess.Popen[bytes]
    moto_port: int
    says: dict[str, Answer | Callable[[dict[str, Any]], Answer | None]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    online: set[str] = field(default_factory=set)
    """Instances that Session Manager reaches."""
    endpoints: list[str] = field(default_factory=list)
    keys_used: set[str] = field(default_factory=set)
    """The access keys that requests were signed with."""
    pushed: list[dict[str, Any]] = field(default_factory=list)
    """What SendSSHPublicKey was given."""
    on_push: Callable[[str], None] = lambda _: None
    port: int = 0

    @classmethod
    def start(cls) -> Self:
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
        argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cloud = cls(process, port)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        cloud._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), cloud._handler())
        cloud.port = cloud._server.server_address[1]
        threading.Thread(target=cloud._server.serve_forever, daemon=True).start()
        return cloud

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.process.kill()  # it keeps nothing, and may take its time over a request
        self.process.wait()

    def reset(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.moto_port, timeout=30)
        connection.request("POST", "/moto-api/reset")
        connection.getresponse().read()
        connection.close()
        for used in (self.says, self.asked, self.online, self.endpoints, self.pushed, self.keys_used):
            used.clear()
        self.on_push = lambda _: None

    def environment(self, region: str = "eu-west-1") -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def ec2(self, region: str = "eu-west-1") -> Any:
        import boto3

        return boto3.client(
            "ec2",
            region_name=region,
            endpoint_url=f"http://127.0.0.1:{self.moto_port}",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def instance(
        self, name: str = "", *, image: str = "ubuntu", region: str = "eu-west-1", public: bool = True
    ) -> dict[str, Any]:
        """Run one, and give what AWS says of it."""
        client = self.ec2(region)
        images = client.describe_images(Filters=[{"Name": "name", "Values": [f"*{image}*"]}])["Images"]
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}] if name else []
        subnet = client.describe_subnets()["Subnets"][0]["SubnetId"]
        made = client.run_instances(
            ImageId=images[0]["ImageId"],
            MinCount=1,
            MaxCount=1,
            TagSpecifications=tags,
            NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, "AssociatePublicIpAddress": public}],
        )
        wanted = made["Instances"][0]["InstanceId"]
        found: dict[str, Any] = client.describe_instances(InstanceIds=[wanted])["Reservations"][0]["Instances"][0]
        return found

    def _answer(self, action: str, given: dict[str, Any]) -> Answer | None:
        self.asked.append(action)
        said = self.says.get(action)
        if callable(said):
            return said(given)
        if said is not None:
            return said
        if action == "DescribeInstanceConnectEndpoints":
            items = "".join(
                f"<item><instanceConnectEndpointId>{one}</instanceConnectEndpointId></item>" for one in self.endpoints
            )
            return (
                200,
                "text/xml",
                (
                    f"<DescribeInstanceConnectEndpointsResponse><instanceConnectEndpointSet>{items}"
                    "</instanceConnectEndpointSet></DescribeInstanceConnectEndpointsResponse>"
                ),
            )
        if action == "DescribeInstanceInformation":
            wanted = given["Filters"][0]["Values"][0]
            rows = [{"InstanceId": wanted, "PingStatus": "Online"}] if wanted in self.online else []
            return 200, "application/x-amz-json-1.1", json.dumps({"InstanceInformationList": rows})
        if action == "SendSSHPublicKey":
            self.pushed.append(given)
            self.on_push(given["SSHPublicKey"])
        return None

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        cloud = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                target = self.headers.get("X-Amz-Target", "")
                signed = self.headers.get("Authorization", "").partition("Credential=")[2]
                cloud.keys_used.add(signed.partition("/")[0])
                if target:
                    action, given = target.rpartition(".")[2], json.loads(body or b"{}")
                else:
                    given = dict(urllib.parse.parse_qsl(body.decode()))
                    action = str(given.get("Action", ""))
                answer = cloud._answer(action, given) or cloud._ask_moto(self.path, body, dict(self.headers))
                status, kind, text = answer
                data = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def _ask_moto(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.moto_port, timeout=30)
        connection.request(
            "POST", path, body, {name: value for name, value in headers.items() if name.lower() != "host"}
        )
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, response.headers.get("Content-Type", "text/xml"), text


def type_of_key(public: str) -> str:
    """The kind of a public key, which is what its base64 begins with as well."""
    kind, data = public.split()[:2]
    assert kind.encode() in base64.b64decode(data)
    return kind
