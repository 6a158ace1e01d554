"""What cuts a host off from outside: fence agents of the ClusterLabs kind, and the API of Amazon EC2.

Source: ClusterLabs, "Fence Agent API": options on standard input; status answers 0 for on and 2 for off.
"""

from __future__ import annotations

import subprocess

from recoverd.connections.aws import ec2
from recoverd.errors import Invalid, Look, TimedOut, Unreachable
from recoverd.inventory import FenceDevice

ON, OFF = 0, 2
_EC2_OFF = frozenset({"stopped", "terminated"})


def is_off(device: FenceDevice, host: str) -> bool:
    """Whether the device says that the host is off.

    Raises:
        Look: The device does not know.
    """
    return call_device(device, "status", host) == OFF


def call_device(device: FenceDevice, action: str, host: str) -> int:
    """Have a device turn a host `off` or `on`, or tell its `status`.

    Returns:
        0; for `status` 0 when the host is on, and 2 when it is off.

    Raises:
        Invalid: The inventory gives no plug for the host.
        TimedOut: It did not end in time.
        Look: It failed.
        Unreachable: It cannot be reached, or its program is not there.
    """
    if host not in device.plugs:
        raise Invalid(
            f"{device.name} has no plug for {host}", f"add it to the device's plugs in fencing.yaml: {host}: …"
        )
    return _call_ec2(device, action, host) if device.kind == "aws-ec2" else _call_agent(device, action, host)


def _call_agent(device: FenceDevice, action: str, host: str) -> int:
    """Call a fence agent; its options, secrets among them, go to its standard input."""
    options = {key: value if isinstance(value, str) else value.resolve() for key, value in device.options.items()}
    lines = {"action": action, "plug": device.plugs[host], **options}
    try:
        done = subprocess.run(  # the command is the inventory's own
            list(device.command),
            input="".join(f"{key}={value}\n" for key, value in lines.items()),
            capture_output=True,
            text=True,
            timeout=device.timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TimedOut(
            f"{device.name} did not answer to '{action}' for {host} within {device.timeout_s:g} s",
            "try the device by hand, or name another one for this member",
        ) from error
    except OSError as error:
        raise Unreachable(
            f"{device.name} cannot be run: {error}", "check `command` of the device in fencing.yaml"
        ) from error
    if done.returncode == ON or (action == "status" and done.returncode == OFF):
        return done.returncode
    words = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()[-1]
    raise Look(f"{device.name} failed at '{action}' for {host}: {words}", "try the device by hand; see fencing.yaml")


def _call_ec2(device: FenceDevice, action: str, host: str) -> int:
    """Stop or start an EC2 instance, or tell its state. Stopping by force skips the file systems: it is a power cut."""
    instance = device.plugs[host]
    with ec2(device.region or "", device.timeout_s, f"{device.name} at '{action}' for {host}") as client:
        if action == "off":
            client.stop_instances(InstanceIds=[instance], Force=True)
            return ON
        if action == "on":
            client.start_instances(InstanceIds=[instance])
            return ON
        found = client.describe_instances(InstanceIds=[instance])["Reservations"]
        states = [one["State"]["Name"] for group in found for one in group["Instances"]]
    if len(states) != 1:
        raise Look(f"{device.name} knows no instance {instance} for {host}", "correct the plug in fencing.yaml")
    return OFF if states[0] in _EC2_OFF else ON
