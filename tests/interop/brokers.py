"""Starts, watches and stops broker pairs: our own and, to compare with, ActiveMQ Classic.

Only processes started here are ever signalled, by their own pid.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
JARS = Path("/usr/share/java")
CLIENT_JARS = [
    "activemq-client",
    "slf4j-api",
    "slf4j-simple",
    "geronimo-jms_1.1_spec",
    "geronimo-j2ee-management-1.1-spec",
    "hawtbuf",
]
BROKER_JARS = CLIENT_JARS + [
    "activemq-broker",
    "activemq-kahadb-store",
    "activemq-protobuf",
    "activemq-openwire-legacy",
    "geronimo-annotation-1.3-spec",
    # for its configuration file
    "activemq-jaas",
    "activemq-spring",
    "commons-logging",
    "spring3-aop",
    "spring3-beans",
    "spring3-context",
    "spring3-core",
    "spring3-expression",
    "xbean-spring",
]
# What both brokers are configured with.
CONFIG = HERE / "activemq.xml"
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30


class Failed(Exception):
    """Something that the run needs did not happen."""


def class_path(jars, classes):
    """The class path of these Debian jars and our classes."""
    missing = [jar for jar in jars if not (JARS / f"{jar}.jar").exists()]
    if missing:
        raise Failed(f"jars missing in {JARS}: {missing}; apt-get install activemq libactivemq-java")
    return ":".join([str(classes)] + [str(JARS / f"{jar}.jar") for jar in jars])


def compile_java(sources, classes):
    """Compiles Java sources with plain javac."""
    classes.mkdir(parents=True, exist_ok=True)
    command = ["javac", "-Xlint:-options", "-nowarn", "-cp", class_path(BROKER_JARS, classes), "-d", str(classes)]
    done = subprocess.run(command + [str(s) for s in sources], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"javac failed:\n{done.stderr}")


def java(jars, classes, main, options=()):
    """The command line of a Java program."""
    return [
        "java",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        *options,
        "-cp",
        class_path(jars, classes),
        main,
    ]


def free_port():
    """A TCP port that is free on loopback."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, seconds, what):
    """Waits until condition() is true; its value, or Failed."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s in vain for {what}")
        time.sleep(0.02)


def rss_mb(pid):
    """Resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise Failed(f"no VmRSS for process {pid}")


def tail(path, lines=25):
    """The last lines of a log, each cut to a readable length."""
    return "\n".join(line[:300] for line in path.read_text(errors="replace").splitlines()[-lines:])


class Member:
    """One broker process of a pair."""

    def __init__(self, name, work):
        self.name = name
        self.port = free_port()
        self.log = work / f"{name}.log"
        self.process = None

    @property
    def url(self):
        """Where it listens for OpenWire when active."""
        return f"tcp://127.0.0.1:{self.port}"

    def command(self):
        """The command line."""
        raise NotImplementedError

    def description(self):
        """What runs here, in a few words."""
        raise NotImplementedError

    def start(self):
        """Starts the process in the background; its output goes to its log."""
        self.log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                start_new_session=True,
            )

    @property
    def pid(self):
        """Its process id."""
        return self.process.pid

    def is_running(self):
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def send_signal(self, number):
        """Sends a signal to this process, if it lives."""
        if self.is_running():
            os.kill(self.pid, number)

    def stop(self, number=signal.SIGTERM):
        """Stops it; kills it when it does not stop in time."""
        if not self.is_running():
            return
        self.send_signal(number)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed(f"{self.name} did not stop within {STOP_SECONDS_MAX} s of signal {number}") from None

    def log_tail(self, lines=25):
        """The end of its log."""
        return tail(self.log, lines)


class Baton(Member):
    """A member of our own pair."""

    def __init__(self, name, work, binary, arguments=()):
        super().__init__(name, work)
        self.http_port = free_port()
        self.directory = work / "directory"
        self.directory.mkdir(exist_ok=True)
        self.binary = binary
        self.arguments = list(arguments)

    def command(self):
        return [
            str(self.binary),
            "broker",
            "--name",
            self.name,
            "--directory",
            str(self.directory),
            "--listen",
            self.url,
            "--http",
            f"127.0.0.1:{self.http_port}",
            "--config",
            str(CONFIG),
            *self.arguments,
        ]

    def description(self):
        return " ".join([str(self.binary), *self.arguments])

    def status(self):
        """What /status says, or None while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/status", timeout=2) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def role(self):
        """The role as /status names it."""
        status = self.status()
        return status.get("role") if status else None

    def is_active(self):
        return self.is_running() and self.role() == "active"

    def is_standby(self):
        """Standby, and with everything read or hardly behind."""
        status = self.status() if self.is_running() else None
        if not status or status.get("role") != "standby":
            return False
        behind = status.get("behind") or {"bytes": 0, "ms": 0}
        return behind["bytes"] == 0 or behind["ms"] < 200


class Reference(Member):
    """A member of an ActiveMQ Classic pair on a shared KahaDB."""

    def __init__(self, name, work, classes, arguments=()):
        super().__init__(name, work)
        self.directory = work / "kahadb"
        self.classes = classes
        self.arguments = list(arguments)

    def command(self):
        # Memory as Debian's package starts it.
        jvm = ["-Xms512M", "-Xmx512M", "-Dorg.apache.activemq.UseDedicatedTaskRunner=true"]
        return java(BROKER_JARS, self.classes, "ReferenceBroker", jvm) + [
            self.name,
            self.url,
            str(self.directory),
            f"config={CONFIG}",
            *self.arguments,
        ]

    def description(self):
        return " ".join(["ActiveMQ Classic", *self.arguments])

    def since_start(self):
        """What it has logged since it was started."""
        with self.log.open("rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")

    def is_active(self):
        return self.is_running() and "\nactive\n" in "\n" + self.since_start()

    def is_standby(self):
        return self.is_running() and not self.is_active() and "is locked by another server" in self.since_start()

    def role(self):
        return "active" if self.is_active() else "standby" if self.is_standby() else "starting"

    def status(self):
        return {"role": self.role()}


class Pair:
    """Two members on one directory, of which one is active."""

    def __init__(self, members):
        self.members = members

    def start(self):
        """Starts both, the first one first; returns the active member."""
        self.members[0].start()
        active = self.wait_active()
        for member in self.members[1:]:
            member.start()
            self.wait_standby(member)
        return active

    def active(self):
        """The active member or None."""
        return next((m for m in self.members if m.is_active()), None)

    def wait_active(self, seconds=START_SECONDS_MAX):
        """Waits until a member is active."""
        def active_or_dead():
            if not any(m.is_running() for m in self.members):
                raise Failed("no broker is running")
            return self.active()

        try:
            return wait_for(active_or_dead, seconds, "an active broker")
        except Failed as e:
            raise Failed(f"{e}\n{self.logs()}") from None

    def wait_standby(self, member, seconds=START_SECONDS_MAX):
        """Waits until the member is a standby that has read everything."""
        try:
            return wait_for(member.is_standby, seconds, f"{member.name} to be a standby")
        except Failed as e:
            raise Failed(f"{e}: {member.status()}\n{member.log_tail()}") from None

    def restart(self):
        """Stops all members in an orderly way, the standby first, and starts them again."""
        active = self.wait_active()
        for member in sorted(self.members, key=lambda m: m is active):
            member.stop()
        return self.start()

    def fault(self, number):
        """Ends the active with this signal, waits for the other one, starts the ended one again."""
        old = self.wait_active()
        old.stop(number)
        new = self.wait_active()
        old.start()
        self.wait_standby(old)
        return new

    def stop(self):
        """Stops everything that was started."""
        for member in self.members:
            member.send_signal(signal.SIGCONT)
            try:
                member.stop()
            except Failed as e:
                print(e, file=sys.stderr)

    def failover_url(self):
        """The URL that clients use, with default options."""
        return f"failover:({','.join(m.url for m in self.members)})"

    def logs(self):
        """The ends of all logs."""
        return "\n".join(f"--- {m.name}\n{m.log_tail()}" for m in self.members if m.log.exists())


def baton_binary(given=None):
    """The broker's binary: as given, else the newest one that cargo built."""
    if given:
        return Path(given).resolve()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [p for p in (target / "release" / "baton", target / "debug" / "baton") if p.exists()]
    if not built:
        raise Failed(f"no baton in {target}/release or {target}/debug: run cargo build first, or give --baton PATH")
    return max(built, key=lambda p: p.stat().st_mtime)
