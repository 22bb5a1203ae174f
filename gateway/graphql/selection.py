"""Find selections that need no executor: some fields of an aggregate, as they are in its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import orjson
from graphql import FieldNode, OperationDefinitionNode, SelectionNode

from gateway.encoding import AGGREGATE_COLUMNS
from marketdata.fields import Kind

_COLUMNS = {column.name: column for column in AGGREGATE_COLUMNS}


class PlainSelection:
    """Fields of an aggregate by the names that the response gives them.

    The executor of graphql-core takes 50 us for what this does in 3.
    """

    def __init__(self, root: str, fields: Mapping[str, str]) -> None:
        self._root = root
        self._fields = tuple(fields.items())
        self._reals = tuple(
            name for name in fields.values() if _COLUMNS[name].field.kind is Kind.REAL
        )

    def encode(self, aggregate: Mapping[str, Any]) -> bytes | None:
        """Return ``"data":...``; None: GraphQL has no such number, and the executor says so."""
        for name in self._reals:
            value = aggregate[name]
            if value is not None and not isfinite(value):
                return None
        data = {self._root: {key: aggregate[name] for key, name in self._fields}}
        return b'"data":%b' % orjson.dumps(data)


def find_plain_selection(operation: OperationDefinitionNode) -> PlainSelection | None:
    """Return the selection of a valid subscription if it is plain.

    That is without fragments, directives, ``__typename``, and fields that are named twice.
    """
    selections = operation.selection_set.selections
    if len(selections) != 1 or operation.directives:
        return None
    root = selections[0]
    if not isinstance(root, FieldNode) or root.directives or root.selection_set is None:
        return None
    fields: dict[str, str] = {}
    for selection in root.selection_set.selections:
        name = _plain_name(selection)
        if name is None:
            return None
        key, field = name
        if key in fields:
            return None
        fields[key] = field
    return PlainSelection(_key_of(root), fields)


def _plain_name(selection: SelectionNode) -> tuple[str, str] | None:
    if not isinstance(selection, FieldNode) or selection.directives or selection.selection_set:
        return None
    name = selection.name.value
    return (_key_of(selection), name) if name in _COLUMNS else None


def _key_of(field: FieldNode) -> str:
    return (field.alias or field.name).value
