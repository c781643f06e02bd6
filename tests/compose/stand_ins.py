"""Images that docker-compose.yml names: pulled where there is a registry, else made here.

A stand-in has the public image's name, user, paths and signal, as far as docker-compose.yml relies on them. Its program
comes from Debian's packages or from Go modules (`make collector jaeger`). It needs debian:trixie-slim, and builds with
BUILD_NETWORK=host where package registries are reached in no other way.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.compose.engine import ROOT, Failed, docker


class Recipe(NamedTuple):
    """How to make a stand-in."""

    dockerfile: str
    program: str | None = None
    """In .tools/bin, put there by the target of make of the same path; None: everything comes from packages."""


def _packages(names: str) -> str:
    install = "apt-get install -y -qq --no-install-recommends"
    return f"RUN apt-get update -qq && {install} {names} && rm -rf /var/lib/apt/lists/*\n"


_DEBIAN = "FROM debian:trixie-slim\n"
_WITH_WGET = _DEBIAN + _packages("busybox") + "RUN ln -s busybox /usr/bin/wget\n"

STAND_INS = {
    "haproxy:3.0": Recipe(
        _DEBIAN
        + _packages("haproxy")
        + """\
RUN groupmod --gid 99 haproxy && usermod --uid 99 haproxy && chown -R haproxy:haproxy /var/lib/haproxy \\
 && mkdir -p /usr/local/etc/haproxy
STOPSIGNAL SIGUSR1
USER haproxy
WORKDIR /var/lib/haproxy
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
"""
    ),
    "otel/opentelemetry-collector-contrib:0.161.0": Recipe(
        """\
FROM scratch
USER 10001:10001
COPY otelcol /otelcol-contrib
ENTRYPOINT ["/otelcol-contrib"]
CMD ["--config", "/etc/otelcol-contrib/config.yaml"]
""",
        "otelcol",
    ),
    "jaegertracing/jaeger:2.13.0": Recipe(
        _WITH_WGET
        + """\
COPY jaeger /cmd/jaeger/jaeger-linux
ENV JAEGER_LISTEN_HOST=0.0.0.0
VOLUME /tmp
ENTRYPOINT ["/cmd/jaeger/jaeger-linux"]
USER 10001
""",
        "jaeger",
    ),
    "prom/prometheus:v3.15.0": Recipe(
        _WITH_WGET
        + _packages("prometheus")
        + """\
RUN mkdir -p /prometheus && chown nobody:nogroup /prometheus
USER nobody
WORKDIR /prometheus
VOLUME /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
"""
    ),
}


def provide(*images: str) -> list[str]:
    """Have these images here; return the names of those that are stand-ins made here. Raises Failed."""
    made = []
    for image in images:
        if docker("image", "inspect", "--format={{.Id}}", image, check=False).strip():
            if _is_stand_in(image):
                made.append(image)
        elif not can_be_pulled(image):
            _make(image)
            made.append(image)
    return made


def can_be_pulled(image: str) -> bool:
    """Pull an image; return whether that worked."""
    return subprocess.run(("docker", "pull", "--quiet", image), capture_output=True, check=False).returncode == 0


def _make(image: str) -> None:
    recipe = STAND_INS.get(image)
    if recipe is None:
        raise Failed(f"{image} is neither here nor can it be pulled, and there is no stand-in for it")
    network = os.environ.get("BUILD_NETWORK", "default")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(recipe.dockerfile)
        if recipe.program is not None:
            subprocess.run(("make", f".tools/bin/{recipe.program}"), check=True, cwd=ROOT)
            shutil.copy(ROOT / ".tools" / "bin" / recipe.program, folder)
        docker("build", "--quiet", f"--network={network}", "--label=milepost.stand-in=yes", f"--tag={image}", folder)


def _is_stand_in(image: str) -> bool:
    label = '{{index .Config.Labels "milepost.stand-in"}}'
    return docker("image", "inspect", f"--format={label}", image).strip() == "yes"
