"""Describe the services to clients that ask by reflection."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import Default, DescriptorPool
from grpc_reflection.v1alpha import reflection


def enable_reflection(services: Sequence[str], server: grpc.aio.Server) -> None:
    """Let clients of ``server`` ask for ``services``, their methods and messages."""
    pool = _PoolWithMethods(Default())
    names = [*services, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server, pool)  # type: ignore[arg-type]


class _PoolWithMethods:
    """A pool in which methods are found by their names, as the reflection protocol asks.

    protobuf's pool finds messages, fields, enums, their values, extensions and services. With its C
    implementation (protobuf 5 and 6) it finds no methods, so ``grpcurl describe
    package.Service.Method`` failed.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> object:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802  protobuf's name
        """Return the file in which ``symbol`` is defined.

        Raises:
            KeyError: there is none.
        """
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service_name, _, method = symbol.rpartition(".")
            service = self._pool.FindServiceByName(service_name)
            if method not in service.methods_by_name:
                raise
            return service.file
