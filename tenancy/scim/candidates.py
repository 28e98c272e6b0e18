"""Finds what must be so where a filter holds, and an index can find: those resources alone are then looked at.

A filter needs no index to be right: this only says where it need not look.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scim2_models import ScimFilter
from scim2_models.path import (
    AttributeBinding,
    AttrPath,
    CompareOperator,
    Comparison,
    FilterNode,
    LogicalExpr,
    LogicalOperator,
    ValuePath,
)

from tenancy.scim.filters import Sql, is_complex, operand, path_of
from tenancy.scim.folding import ELSEWHERE, key_of

TOO_COMMON = frozenset({"type", "primary"})  # sub-attributes that say nothing of whose value it is


@dataclass(frozen=True, slots=True)
class Indexes:
    """How to find ids: by an attribute (`member.value` by its names in Python) or by a piece of the document."""

    by_attribute: dict[str, Callable[[str], Sql]]
    by_document: Callable[[dict[str, Any]], Sql]


def candidates(bound: ScimFilter[Any], indexes: Indexes) -> Sql | None:
    """A SELECT of ids that holds every resource for which the filter holds; None where no index helps."""
    return _candidates(bound.ast, bound, indexes)


def _candidates(node: FilterNode, bound: ScimFilter[Any], indexes: Indexes) -> Sql | None:
    if isinstance(node, LogicalExpr):
        found = [_candidates(term, bound, indexes) for term in node.terms]
        if node.op == LogicalOperator.and_:
            return next((one for one in found if one is not None), None)
        if all(one is not None for one in found):
            return _union([one for one in found if one is not None])
        return None
    if isinstance(node, Comparison):
        return _of_comparison(node, bound, indexes)
    if isinstance(node, ValuePath):
        return _of_value(node, bound, indexes)
    return None


def _union(selects: list[Sql]) -> Sql:
    return Sql(" UNION ALL ".join(one.text for one in selects), tuple(p for one in selects for p in one.params))


def _of_comparison(node: Comparison, bound: ScimFilter[Any], indexes: Indexes) -> Sql | None:
    binding = bound.resolve_comparison(node.attr_path, strict=False)
    if binding is None or node.op != CompareOperator.eq or not _is_text(binding):
        return None
    wanted = operand(binding, node)
    if not isinstance(wanted, str):
        return None
    name = f"{binding.field_name}.{binding.sub_field_name}" if binding.sub_field_name else binding.field_name
    if find := indexes.by_attribute.get(name):
        return find(wanted)
    if _is_elsewhere(binding) or binding.sub_field_name in TOO_COMMON:
        return None
    sub = key_of(binding.field_type, binding.sub_field_name) if binding.sub_field_name else ""  # type: ignore[arg-type]
    value: Any = wanted
    if binding.is_multivalued:
        value = [{sub: wanted} if sub else wanted]
    return indexes.by_document(_nested(path_of(binding), value))


def _of_value(node: ValuePath, bound: ScimFilter[Any], indexes: Indexes) -> Sql | None:
    head = bound.resolve(node.attr_path, strict=False)
    if head is None or not is_complex(head) or _is_elsewhere(head):
        return None
    inner = node.val_filter
    terms = inner.terms if isinstance(inner, LogicalExpr) and inner.op == LogicalOperator.and_ else (inner,)
    wanted: dict[str, str] = {}
    for term in terms:
        if isinstance(term, Comparison) and term.op == CompareOperator.eq and term.attr_path.uri is None:
            path = AttrPath(node.attr_path.attr, term.attr_path.attr, node.attr_path.uri)
            binding = bound.resolve(path, strict=False)
            if binding is None or not _is_text(binding) or term.attr_path.sub_attr is not None:
                continue
            value = operand(binding, term)
            if isinstance(value, str) and binding.sub_field_name:
                wanted[key_of(head.field_type, binding.sub_field_name)] = value  # type: ignore[arg-type]
    if not wanted.keys() - TOO_COMMON:
        return None
    return indexes.by_document(_nested(path_of(head), [wanted]))


def _nested(path: list[str], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    found: dict[str, Any] = value
    return found


def _is_text(binding: AttributeBinding) -> bool:
    return isinstance(binding.target_type, type) and issubclass(binding.target_type, str)


def _is_elsewhere(binding: AttributeBinding) -> bool:
    return binding.field_name in ELSEWHERE
