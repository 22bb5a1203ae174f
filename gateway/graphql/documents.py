"""Parse and validate documents, and reject those that would cost too much."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    specified_rules,
    validate,
)
from strawberry.extensions import MaxAliasesLimiter, QueryDepthLimiter

from gateway.graphql.errors import (
    BAD_USER_INPUT,
    PARSE_FAILED,
    VALIDATION_FAILED,
    RequestErrors,
)

# How often one selection set may name the same field. Validation compares them pair by pair:
# 220 times the same field took 0.3 s.
MAX_REPEATS = 10

# Validated documents are kept for clients that send the same again. 2 KiB of text become at most
# 300 KiB of document.
_CACHED_DOCUMENTS = 128
_CACHED_LENGTH = 2048


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """The limits of a document."""

    max_depth: int
    max_aliases: int
    max_tokens: int
    introspection: bool = True


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document, and which of its operations to run."""

    text: str
    tree: DocumentNode
    operation: OperationDefinitionNode

    @property
    def kind(self) -> str:
        """query, mutation or subscription."""
        return self.operation.operation.value


class Documents:
    """Turn texts into documents for one schema."""

    def __init__(self, schema: GraphQLSchema, limits: DocumentLimits) -> None:
        self._schema = schema
        self._limits = limits
        self._first_rules = list(specified_rules)
        if not limits.introspection:
            self._first_rules.append(NoSchemaIntrospectionCustomRule)
        # These rules require that fragments exist and that their spreads are few, so they come
        # after the checks of both.
        self._then_rules = [
            *QueryDepthLimiter(limits.max_depth).validation_rules,
            *MaxAliasesLimiter(limits.max_aliases).validation_rules,
        ]
        self._valid: OrderedDict[str, DocumentNode] = OrderedDict()

    def parse(self, text: str, operation_name: str | None) -> Document:
        """Return the document, not yet validated.

        Raises:
            RequestErrors: it is not GraphQL, is too long, or has no such operation.
        """
        tree = self._valid.get(text)
        if tree is None:
            try:
                # This is all that strawberry's MaxTokensLimiter does.
                tree = parse(text, max_tokens=self._limits.max_tokens)
            except GraphQLError as exc:
                raise RequestErrors([exc], PARSE_FAILED) from exc
        return Document(text, tree, _operation(tree, operation_name))

    def validate(self, document: Document) -> None:
        """Check that ``document`` fits the schema and keeps the limits.

        Raises:
            RequestErrors: it does not.
        """
        tree, text = document.tree, document.text
        if text in self._valid:
            self._valid.move_to_end(text)
            return
        _check_selection_sets(tree)
        self._check(tree, self._first_rules)
        _check_spreads(tree, self._limits.max_tokens)
        self._check(tree, self._then_rules)
        if len(text) <= _CACHED_LENGTH:
            self._valid[text] = tree
            if len(self._valid) > _CACHED_DOCUMENTS:
                self._valid.popitem(last=False)

    def _check(self, tree: DocumentNode, rules: list[type]) -> None:
        # Suggestions would reveal, name by name, what introspection hides.
        hide = not self._limits.introspection
        errors = validate(self._schema, tree, rules, max_errors=10, hide_suggestions=hide)
        if errors:
            raise RequestErrors(errors, VALIDATION_FAILED)


def _operation(tree: DocumentNode, name: str | None) -> OperationDefinitionNode:
    operations = [each for each in tree.definitions if isinstance(each, OperationDefinitionNode)]
    if name is None and len(operations) == 1:
        return operations[0]
    for operation in operations:
        if name is not None and operation.name and operation.name.value == name:
            return operation
    if not operations:
        message, code = "The document has no operation.", VALIDATION_FAILED
    elif name is None:
        message = "Must provide operation name if query contains multiple operations."
        code = BAD_USER_INPUT
    else:
        message, code = f"Unknown operation named '{name}'.", BAD_USER_INPUT
    raise RequestErrors([GraphQLError(message)], code)


# graphql-core accepts empty ones, as drafts of the specification do; strawberry's rules fail on
# them.
def _check_selection_sets(tree: DocumentNode) -> None:
    for definition in tree.definitions:
        if not isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode):
            continue
        waiting = [definition.selection_set]
        while waiting:
            names: Counter[str] = Counter()
            for selection in _flat(waiting.pop()):
                if isinstance(selection, FragmentSpreadNode):
                    name = f"...{selection.name.value}"
                else:
                    name = (selection.alias or selection.name).value
                    if selection.selection_set:
                        waiting.append(selection.selection_set)
                names[name] += 1
                if names[name] > MAX_REPEATS:
                    message = f"'{name}' is selected more than {MAX_REPEATS} times in one place."
                    raise RequestErrors([GraphQLError(message, selection)], VALIDATION_FAILED)


# The selections of one place: inline fragments are opened, spreads are not.
def _flat(selection_set: SelectionSetNode) -> Iterator[FieldNode | FragmentSpreadNode]:
    waiting = [selection_set]
    while waiting:
        selection_set = waiting.pop()
        if not selection_set.selections:
            error = GraphQLError("Nothing is selected between { and }.", selection_set)
            raise RequestErrors([error], VALIDATION_FAILED)
        for selection in selection_set.selections:
            if isinstance(selection, InlineFragmentNode):
                waiting.append(selection.selection_set)
            elif isinstance(selection, FieldNode | FragmentSpreadNode):
                yield selection


# Fragments that spread others twice each double with every step; 30 lines of them are 2**30
# selections for a rule that follows each spread. Here each fragment is counted once. The document
# is valid, so there are no cycles.
def _check_spreads(tree: DocumentNode, limit: int) -> None:
    fragments = {
        each.name.value: each.selection_set
        for each in tree.definitions
        if isinstance(each, FragmentDefinitionNode)
    }
    counts: dict[str, int] = {}

    def count(selection_set: SelectionSetNode | None) -> int:
        total = 0
        for selection in selection_set.selections if selection_set else ():
            if isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name not in counts:
                    counts[name] = count(fragments[name])
                total += counts[name]
            elif isinstance(selection, FieldNode | InlineFragmentNode):
                total += 1 + count(selection.selection_set)
        return total

    for definition in tree.definitions:
        if isinstance(definition, OperationDefinitionNode):
            total = count(definition.selection_set)
            if total > limit:
                error = GraphQLError(
                    f"The fragments written out are {total} selections, limit is {limit}.",
                    definition,
                )
                raise RequestErrors([error], VALIDATION_FAILED)
