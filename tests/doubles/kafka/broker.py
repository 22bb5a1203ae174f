"""A Kafka broker for the tests: the real one, alone, on a free port."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from uuid import uuid4

from tests.doubles.ports import free_port

JARS = Path.home() / ".cache" / "market-data-server" / "kafka"
_STARTED = b"Kafka Server started"
_JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
min.insync.replicas=1
group.initial.rebalance.delay.ms=0
"""


def is_installed() -> bool:
    """Return whether a broker can be started."""
    return shutil.which("java") is not None and any(JARS.glob("kafka_*.jar"))


@contextmanager
def run_broker(folder: Path) -> Iterator[str]:
    """Run a broker with its files in ``folder``; return its address."""
    port = free_port()
    config = folder / "server.properties"
    config.write_text(_PROPERTIES.format(port=port, controller=free_port(), folder=folder))
    java = (str(shutil.which("java")), *_JVM, "-cp", f"{JARS}/*")
    cluster = base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
    subprocess.run(
        (*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config)),
        check=True,
        capture_output=True,
    )
    with subprocess.Popen(
        (*java, "kafka.Kafka", str(config)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if _STARTED in line:
                    break
            else:
                raise AssertionError("the broker has ended")
            # It goes on writing, and a full pipe would stop it.
            Thread(target=process.stderr.readlines, daemon=True).start()
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
