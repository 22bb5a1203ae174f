# One image for all programs. The command picks one: python -m aggregator, ingest, gateway,
# standalone, fakeclient.
# Nothing here needs BuildKit, so Compose v1 and engines without buildx can build it too.

# The base image of every stage. It can be a mirror, or an image that has a company's CA.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# Without pip: nobody installs into a running container.
RUN python -m venv --without-pip /opt/venv
WORKDIR /build
# The dependencies are a layer of their own: it is built again only when they change.
COPY pyproject.toml constraints.txt ./
RUN python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["files"], sep="\n")' >requirements.txt \
 && python -m pip --python /opt/venv/bin/python install --only-binary :all: -c constraints.txt -r requirements.txt
# So are the gateway's pages. They are built with Node.js from PyPI, which is only in this stage.
COPY scripts scripts
COPY gateway/package.json gateway/package-lock.json gateway/
COPY gateway/assets gateway/assets
COPY gateway/dashboard gateway/dashboard
RUN python -m scripts.assets
COPY . .
RUN python -m pip --python /opt/venv/bin/python install --no-deps .
# A container cannot keep compiled code, and its processor may be another one. So the hot loops are
# compiled here, for every processor of the architecture. They are as fast as for this one alone.
ENV NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES=
# Not from /build: there Python would import the sources instead of the installed packages.
WORKDIR /
# The library of them needs a C compiler. Without one, services load numba, which costs memory.
RUN (apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev) >/dev/null 2>&1 \
 || echo 'no C compiler: services will load numba'; \
    /opt/venv/bin/python -m marketdata.warm ingest aggregator gateway

FROM ${BASE}
# A new volume mounted on /data takes its owner from there.
# An official Python image carries no bytecode of the standard library, and a service that may not
# write can never keep its own: each start and each health check would compile it again.
RUN python -m compileall -q -j 0 -x '/(site-packages|test|idlelib|lib2to3|turtledemo|ensurepip|tkinter|pydoc_data)/' \
      "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && echo 'marketdata:x:10001:' >>/etc/group \
 && echo 'marketdata:x:10001:10001::/nonexistent:/usr/sbin/nologin' >>/etc/passwd \
 && install -d -o 10001 -g 10001 /data
# pip compiled what it installed, and the copy keeps the times by which bytecode is judged.
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The hot loops were compiled for these values; with others each start would compile them again.
ENV NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES=
# As a number, an orchestrator can see that it is not root without reading /etc/passwd.
USER 10001:10001
# No file here can shadow an installed module.
WORKDIR /tmp
CMD ["sh", "-c", "echo 'name a service: python -m aggregator, ingest, gateway, standalone or fakeclient' >&2; exit 64"]
ARG VERSION=unversioned
LABEL org.opencontainers.image.title="market-data-server" \
      org.opencontainers.image.description="Turns ticks pushed over TCP into correct OHLCV aggregates and hands them live to every kind of client." \
      org.opencontainers.image.version="${VERSION}"
