"""Turns a filter of RFC 7644 into a condition of SQL, which says the same as `ScimFilter.match` of each resource.

The grammar is the library's: at most 32 levels, and here at most MOST_CHARACTERS. Every value and every name that a
client sends is a bound parameter. Conditions are never NULL, so that `not` means what it says.
"""

import base64
from datetime import datetime
from inspect import isclass
from typing import Any, NamedTuple

from pydantic import BaseModel
from scim2_models import InvalidFilterException, ScimFilter
from scim2_models.path import (
    AttributeBinding,
    AttrPath,
    CompareOperator,
    Comparison,
    FilterNode,
    FilterVisitor,
    LogicalExpr,
    LogicalOperator,
    Not,
    Present,
    ValuePath,
)
from scim2_models.path.resolution import coerce_value

from tenancy.scim.folding import is_extension, key_of

MOST_CHARACTERS = 4_096
MOST_COMPARISONS = 100
NULLS = {CompareOperator.eq: "({} IS NULL)", CompareOperator.ne: "({} IS NOT NULL)"}
FRAGMENTS = {
    CompareOperator.co: "COALESCE(strpos({}, {}) > 0, FALSE)",
    CompareOperator.sw: "COALESCE(starts_with({}, {}), FALSE)",
}
ORDERS = {
    CompareOperator.eq: "COALESCE({} = {}, FALSE)",
    CompareOperator.ne: "({} IS DISTINCT FROM {})",
    CompareOperator.gt: "COALESCE({} > {}, FALSE)",
    CompareOperator.ge: "COALESCE({} >= {}, FALSE)",
    CompareOperator.lt: "COALESCE({} < {}, FALSE)",
    CompareOperator.le: "COALESCE({} <= {}, FALSE)",
}
NOT_EMPTY = """'$.** ? ((@.type() == "string" && @ != "") || @.type() == "boolean")'"""


class Sql(NamedTuple):
    """A piece of SQL and what is bound in it."""

    text: str
    params: tuple[Any, ...] = ()


TRUE, FALSE, NULL = Sql("TRUE"), Sql("FALSE"), Sql("NULL::text")


class Values(NamedTuple):
    """The values of a multi-valued attribute as rows: `x WHERE y`, and what each sub-attribute is in one."""

    source: Sql
    subs: dict[str, Sql]  # by their names in Python; "" is the value itself, of an attribute without sub-attributes
    present: Sql  # whether there is one with anything in it
    missing: Sql  # whether there is none
    order: str  # of the rows


class Table(NamedTuple):
    """Where a resource type keeps what filters ask for."""

    document: Sql  # as `folding.folded` made it
    columns: dict[str, Sql]  # attributes outside of it, by their names in Python: as text, or as a time
    rows: dict[str, Values]  # multi-valued ones that are rows of a table


def condition(bound: ScimFilter[Any], table: Table) -> Sql:
    """The filter, bound to the model, as SQL about a row; what the model lacks is nowhere equal to anything."""
    return _Resource(bound, table).visit(bound.ast)


def check(scim_filter: ScimFilter[Any]) -> None:
    """Refuse a filter that is longer than anybody needs. Raises InvalidFilterException."""
    if len(scim_filter) > MOST_CHARACTERS:
        raise InvalidFilterException(detail=f"A filter has at most {MOST_CHARACTERS:,} characters.")
    if sum(1 for _ in comparisons(scim_filter.ast)) > MOST_COMPARISONS:
        raise InvalidFilterException(detail=f"A filter has at most {MOST_COMPARISONS} comparisons.")


def comparisons(node: FilterNode) -> Any:
    """Every comparison and presence test in a filter."""
    if isinstance(node, LogicalExpr):
        for term in node.terms:
            yield from comparisons(term)
    elif isinstance(node, Not):
        yield from comparisons(node.expr)
    elif isinstance(node, ValuePath):
        yield from comparisons(node.val_filter)
    else:
        yield node


def _joined(op: LogicalOperator, terms: list[Sql]) -> Sql:
    joiner = " AND " if op == LogicalOperator.and_ else " OR "
    return Sql(f"({joiner.join(term.text for term in terms)})", tuple(p for term in terms for p in term.params))


def _fill(template: str, *pieces: Sql) -> Sql:
    """The template with each `{}` replaced by a piece."""
    return Sql(template.format(*[piece.text for piece in pieces]), tuple(p for piece in pieces for p in piece.params))


def compared(actual: Sql, op: CompareOperator, expected: Any) -> Sql:
    """Compare one value, which is NULL where there is none, as the library compares it."""
    if expected is None:
        return _fill(NULLS[op], actual) if op in NULLS else FALSE
    value = Sql("%s", (expected,))
    if op in ORDERS:
        return _fill(ORDERS[op], actual, value)
    if op == CompareOperator.ew:
        return _fill("COALESCE(right({}, {}) = {}, FALSE)", actual, Sql("%s", (len(expected),)), value)
    return _fill(FRAGMENTS[op], actual, value)


def operand(binding: AttributeBinding, node: Comparison) -> Any:
    """What is compared with, as it is stored. Raises InvalidFilterException."""
    value = coerce_value(binding, node.value, node.op)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidFilterException(detail="The filter holds half a character.") from None
    if "\x00" in value:
        raise InvalidFilterException(detail="The filter holds a NUL.")
    return str(binding.comparable(value))


class _Any(FilterVisitor[Sql]):
    """What both kinds of filters share: those about a resource, and those about a value of an attribute."""

    def visit_not(self, node: Not) -> Sql:
        return _fill("(NOT {})", self.visit(node.expr))

    def visit_logical_expr(self, node: LogicalExpr) -> Sql:
        return _joined(node.op, [self.visit(term) for term in node.terms])


class _Resource(_Any):
    """A filter about a resource."""

    def __init__(self, bound: ScimFilter[Any], table: Table) -> None:
        self.bound, self.table = bound, table

    def visit_comparison(self, node: Comparison) -> Sql:
        binding = self.bound.resolve_comparison(node.attr_path, strict=False)
        if binding is None:
            return FALSE
        expected = operand(binding, node)
        if not binding.is_multivalued:
            if is_complex(binding):
                return _with_complex(self.table, binding, node.op, expected)
            if is_moment(binding) and node.op not in ORDERS:
                return FALSE
            return compared(text_of(self.table, binding), node.op, expected)
        if is_complex(binding):
            return _with_complex(self.table, binding, node.op, expected)
        values = values_of(self.table, binding)
        return _of_several(values, values.subs[binding.sub_field_name or ""], node.op, expected)

    def visit_present(self, node: Present) -> Sql:
        binding = self.bound.resolve(node.attr_path, strict=False)
        if binding is None:
            return FALSE
        if binding.is_multivalued:
            values = values_of(self.table, binding)
            if binding.sub_field_name is None:
                return values.present
            return _some(values, _present(values.subs[binding.sub_field_name]))
        if is_complex(binding):
            return _fill(f"COALESCE(jsonb_path_exists({{}}, {NOT_EMPTY}), FALSE)", json_of(self.table, binding))
        return _present(text_of(self.table, binding))

    def visit_value_path(self, node: ValuePath) -> Sql:
        binding = self.bound.resolve(node.attr_path, strict=False)
        if binding is None:
            return FALSE
        values = values_of(self.table, binding)
        return _some(values, _Value(self.bound, node.attr_path, binding, values).visit(node.val_filter))


class _Value(_Any):
    """A filter about one value of an attribute: what stands between the brackets."""

    def __init__(self, bound: ScimFilter[Any], of: AttrPath, head: AttributeBinding, values: Values) -> None:
        self.bound, self.of, self.head, self.values = bound, of, head, values

    def visit_comparison(self, node: Comparison) -> Sql:
        binding = self._binding(node.attr_path)
        if binding is None:
            return FALSE
        return compared(self.values.subs[binding.sub_field_name or ""], node.op, operand(binding, node))

    def visit_present(self, node: Present) -> Sql:
        binding = self._binding(node.attr_path)
        return FALSE if binding is None else _present(self.values.subs[binding.sub_field_name or ""])

    def _binding(self, path: AttrPath) -> AttributeBinding | None:
        if path.uri is not None or path.sub_attr is not None:
            return None
        if not is_complex(self.head):  # a text has no sub-attributes; `value` is the text itself
            return self.head if path.attr.lower() == "value" else None
        return self.bound.resolve(AttrPath(self.of.attr, path.attr, self.of.uri), strict=False)


def is_moment(binding: AttributeBinding) -> bool:
    """Whether an attribute is a time, which no fragment of a text is in."""
    kind = binding.target_type
    return isclass(kind) and issubclass(kind, datetime)


def is_complex(binding: AttributeBinding) -> bool:
    """Whether what the path names has sub-attributes."""
    return isclass(binding.target_type) and issubclass(binding.target_type, BaseModel)


def _present(text: Sql) -> Sql:
    return _fill("COALESCE(({})::text <> '', FALSE)", text)


def _some(values: Values, each: Sql) -> Sql:
    return _fill("EXISTS (SELECT 1 FROM {} AND {})", values.source, each)


def _of_several(values: Values, value: Sql, op: CompareOperator, expected: Any) -> Sql:
    """Some value compares so; for `ne`, every one does."""
    each = compared(value, op, expected)
    if op == CompareOperator.ne:
        every = _fill("(NOT EXISTS (SELECT 1 FROM {} AND NOT {}))", values.source, each)
        return every if expected is not None else _fill("(NOT {} AND {})", values.missing, every)
    if op == CompareOperator.eq and expected is None:
        return _fill("({} OR {})", values.missing, _some(values, each))
    return _some(values, each)


def _with_complex(table: Table, binding: AttributeBinding, op: CompareOperator, expected: Any) -> Sql:
    """A whole complex value equals nothing that a filter can say, but null."""
    if expected is not None:
        return TRUE if op == CompareOperator.ne else FALSE
    if op not in {CompareOperator.eq, CompareOperator.ne}:
        return FALSE
    if binding.is_multivalued:
        missing = values_of(table, binding).missing
        return missing if op == CompareOperator.eq else _fill("(NOT {})", missing)
    return compared(json_of(table, binding), op, None)


def path_of(binding: AttributeBinding) -> list[str]:
    """Where the document has the attribute; not the sub-attribute of a multi-valued one."""
    model = binding.model
    path = [str(model.__schema__)] if is_extension(model) else []  # type: ignore[attr-defined]
    path.append(key_of(model, binding.field_name))
    if binding.sub_field_name and not binding.is_multivalued:
        path.append(key_of(binding.field_type, binding.sub_field_name))  # type: ignore[arg-type]
    return path


def column_of(table: Table, binding: AttributeBinding) -> Sql | None:
    """The column of an attribute that is not in the document."""
    if is_extension(binding.model):
        return None
    name = f"{binding.field_name}.{binding.sub_field_name}" if binding.sub_field_name else binding.field_name
    return table.columns.get(name)


def text_of(table: Table, binding: AttributeBinding) -> Sql:
    """A single value as text (or as a time), NULL where there is none."""
    column = column_of(table, binding)
    return column or _fill('(({} #>> {}) COLLATE "C")', table.document, Sql("%s::text[]", (path_of(binding),)))


def json_of(table: Table, binding: AttributeBinding) -> Sql:
    """The attribute as the document has it."""
    return _fill("({} #> {})", table.document, Sql("%s::text[]", (path_of(binding),)))


def values_of(table: Table, binding: AttributeBinding) -> Values:
    """The values of a multi-valued attribute, as rows."""
    if not is_extension(binding.model) and binding.field_name in table.rows:
        return table.rows[binding.field_name]
    whole = json_of(table, binding)
    model = binding.field_type
    if isclass(model) and issubclass(model, BaseModel):
        subs = {name: Sql('((one.item ->> %s) COLLATE "C")', (key_of(model, name),)) for name in model.model_fields}
    else:
        subs = {"": Sql("((one.item #>> '{}') COLLATE \"C\")")}
    return Values(
        source=_fill("jsonb_array_elements({}) WITH ORDINALITY AS one(item, place) WHERE TRUE", whole),
        subs=subs,
        present=_fill(f"COALESCE(jsonb_path_exists({{}}, {NOT_EMPTY}), FALSE)", whole),
        missing=_fill("({} IS NULL)", whole),
        order="one.place",
    )
