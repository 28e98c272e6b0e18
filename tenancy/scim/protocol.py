"""Speaks SCIM 2.0 (RFC 7644) for a directory: scim2-server's steps, over documents where the library takes models."""

import logging
from http import HTTPStatus
from typing import Any, cast

from scim2_models import (
    Context,
    Error,
    ForbiddenException,
    PatchOp,
    PatchOperation,
    Resource,
    ResourceType,
    ResponseParameters,
    SCIMException,
    SearchRequest,
    UniquenessException,
)
from scim2_server.conditions import Conditions
from scim2_server.handler import ScimHandler
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Operation, Target
from scim2_server.service import ScimService

from tenancy.errors import Conflict, Forbidden, LimitReached
from tenancy.scim import membership
from tenancy.scim.adapters import Document
from tenancy.scim.provisioning import NotAdopted
from tenancy.scim.resources import ENTERPRISE, GROUP_TYPE, GroupModel, UserModel
from tenancy.scim.storage import DirectoryStorage, Documents

LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
Parameters = ResponseParameters[Any]
log = logging.getLogger("scim")


class ConflictException(SCIMException):
    """The organization's own rules refuse it: its last owner stays, and nobody is taken from outside its domains."""

    status = 409


def meant(failure: Exception) -> Exception:
    """What an expected failure of the rooms means to a directory; others as they are."""
    if isinstance(failure, NotAdopted) and failure.reason == "taken":
        return UniquenessException(detail=str(failure))
    if isinstance(failure, LimitReached | Forbidden):
        return ForbiddenException(detail=str(failure))
    if isinstance(failure, Conflict):
        return ConflictException(detail=str(failure))
    return failure


class Service(ScimService):
    """The protocol without storage."""

    @staticmethod
    def error_of(exception: Exception) -> Error:
        """The error of an exception; one that nobody expects is logged, and says nothing of itself."""
        known = meant(exception)
        if isinstance(known, SCIMException):
            return known.to_error()
        log.error("scim.failed", exc_info=exception)
        return Error(status=500, detail="Something went wrong here, and nothing was changed: try again later.")

    def publish(self, base_url: str, resource: Resource[Any]) -> Resource[Any]:
        """The resource with its address, for the results of a bulk request."""
        if resource.meta is not None:
            kind = self.get_resource_type_of(resource)
            resource.meta.location = self.resource_location(base_url, kind, str(resource.id))
        return resource

    def locate_in(self, base_url: str, document: Document) -> Document:
        """Write addresses into a document: its own, and those of whom it names."""
        kind = self.get_resource_type(document["meta"]["resourceType"])
        document["meta"]["location"] = self.resource_location(base_url, kind, document["id"])
        manager = document.get(ENTERPRISE, {}).get("manager")
        for named in (*document.get("members", ()), *document.get("groups", ()), *([manager] if manager else ())):
            if "$ref" in named:
                named["$ref"] = self.reference_location(base_url, named["$ref"])
        return document

    def shown(self, base_url: str, document: Document, parameters: Parameters | None) -> Document:
        """A document as the client asked for it, by `attributes` or `excludedAttributes`."""
        document = self.locate_in(base_url, document)
        if parameters is None or not (parameters.attributes or parameters.excluded_attributes):
            return document
        model = UserModel if document["meta"]["resourceType"] == "User" else GroupModel
        dumped: Document = model.model_validate(document).model_dump(
            scim_ctx=Context.RESOURCE_QUERY_RESPONSE, response_parameters=parameters
        )
        return dumped

    def document_response(
        self,
        base_url: str,
        document: Document,
        parameters: Parameters | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> ScimResponse:
        """The answer with one resource, its address and its ETag."""
        meta = document["meta"]
        body = self.shown(base_url, document, parameters)
        headers = {"Content-Location": meta["location"], "ETag": meta["version"]}
        if status == HTTPStatus.CREATED:
            headers["Location"] = meta["location"]
        return ScimResponse(status, body, headers)

    def list_response(
        self, base_url: str, types: list[ResourceType], page: Documents, request: SearchRequest[Any]
    ) -> ScimResponse:
        """The answer with a page of resources."""
        body: Document = {"schemas": [LIST]}
        if page.total is not None:
            body["totalResults"] = page.total
        body["itemsPerPage"] = len(page.documents)
        if request.cursor is None:
            body["startIndex"] = request.start_index
        elif request.count != 0:
            cursors = {"nextCursor": page.next, "previousCursor": page.previous}
            body |= {name: self._seal(types, request, at) for name, at in cursors.items() if at is not None}
        body["Resources"] = [self.shown(base_url, document, request) for document in page.documents]
        return ScimResponse(HTTPStatus.OK, body)


class Handler(ScimHandler):
    """The protocol over a directory's storage, for one request."""

    storage: DirectoryStorage
    service: Service

    def _begin(self, request: ScimRequest, operation: Operation) -> tuple[Target, ResourceType, Parameters]:
        target = self.service.route(request, operation)
        resource_type = self.service.resource_type_at(cast("str", target.endpoint))
        return target, resource_type, self.service.read_response_parameters(resource_type, request.query)

    def create(self, request: ScimRequest) -> ScimResponse:
        """POST (RFC 7644, section 3.3)."""
        with self.service.provider:
            _, resource_type, parameters = self._begin(request, Operation.create)
            resource = self.service.read_creation(resource_type, request.body, request.header("Content-Type"))
            document = self.storage.add(resource_type, resource)
            return self.service.document_response(request.base_url, document, parameters, HTTPStatus.CREATED)

    def query(self, request: ScimRequest) -> ScimResponse:
        """GET of one resource (section 3.4.1)."""
        with self.service.provider:
            target, resource_type, parameters = self._begin(request, Operation.query)
            document = self.storage.document(resource_type, cast("str", target.resource_id), parameters)
            version = document["meta"]["version"]
            if not self.service.read_conditions(request).check(version, "GET"):
                return ScimResponse(HTTPStatus.NOT_MODIFIED, None, {"ETag": version})
            return self.service.document_response(request.base_url, document, parameters)

    def replace(self, request: ScimRequest) -> ScimResponse:
        """PUT (section 3.5.1)."""
        with self.service.provider:
            target, resource_type, parameters = self._begin(request, Operation.replace)
            current = self.storage.get(resource_type, cast("str", target.resource_id))
            replacement = self.service.read_replacement(resource_type, request.body, request.header("Content-Type"))
            conditions = self.service.read_conditions(request)
            document = self._replaced(resource_type, current, replacement, conditions)
            return self.service.document_response(request.base_url, document, parameters)

    def patch(self, request: ScimRequest) -> ScimResponse:
        """PATCH (section 3.5.2): a user is answered with; a group, which may be large, where the client asks for it."""
        with self.service.provider:
            target, resource_type, parameters = self._begin(request, Operation.patch)
            patch = self.service.read_patch(resource_type, request.body, request.header("Content-Type"))
            resource_id = cast("str", target.resource_id)
            document = self._patched(resource_type, resource_id, patch, self.service.read_conditions(request))
            if resource_type is GROUP_TYPE:
                if not (parameters.attributes or parameters.excluded_attributes):
                    return ScimResponse(HTTPStatus.NO_CONTENT, None, {"ETag": document["meta"]["version"]})
                document = self.storage.document(resource_type, resource_id, parameters)
            return self.service.document_response(request.base_url, document, parameters)

    def search(self, request: ScimRequest) -> ScimResponse:
        """GET of several resources (section 3.4.2)."""
        return self._search(request, Operation.search)

    def search_with_body(self, request: ScimRequest) -> ScimResponse:
        """POST to `.search` (section 3.4.3)."""
        return self._search(request, Operation.search_with_body)

    def bulk(self, request: ScimRequest) -> ScimResponse:
        """POST to `/Bulk` (section 3.7)."""
        self.storage.is_bulk = True
        return super().bulk(request)

    def replace_resource(
        self,
        resource_type: ResourceType,
        current: Resource[Any],
        replacement: Resource[Any],
        conditions: Conditions,
    ) -> Resource[Any]:
        """A PUT within a bulk request."""
        return _model(self._replaced(resource_type, current, replacement, conditions))

    def patch_resource(
        self, resource_type: ResourceType, resource_id: str, patch_op: "PatchOp[Any]", conditions: Conditions
    ) -> Resource[Any]:
        """A PATCH within a bulk request."""
        return _model(self._patched(resource_type, resource_id, patch_op, conditions))

    def _search(self, request: ScimRequest, operation: Operation) -> ScimResponse:
        with self.service.provider:
            target = self.service.route(request, operation)
            types = self.service.searched_types(target.endpoint)
            if operation is Operation.search:
                wanted, position = self.service.read_search_query(types, request.query)
            else:
                wanted, position = self.service.read_search_body(types, request.body, request.header("Content-Type"))
            page = self.storage.documents(types, wanted, position)
            return self.service.list_response(request.base_url, types, page, wanted)

    def _replaced(
        self, kind: ResourceType, current: Resource[Any], replacement: Resource[Any], conditions: Conditions
    ) -> Document:
        replaced = self.service.apply_replacement(current, replacement, conditions)
        if replaced is None:
            return self.storage.document(kind, str(current.id), ResponseParameters[Any]())
        return self.storage.store(kind, replaced)

    def _patched(self, kind: ResourceType, resource_id: str, patch: "PatchOp[Any]", conditions: Conditions) -> Document:
        _forget_nulls(patch)
        only = membership.named_in(patch) if kind is GROUP_TYPE else None
        current = self.storage.to_patch(kind, resource_id, only)
        patched = self.service.apply_patch(current, patch, conditions)
        if patched is not None:
            return self.storage.store(kind, patched, only=only)
        nothing = ResponseParameters[Any].model_validate(
            {"excludedAttributes": ["members"] if kind is GROUP_TYPE else []}
        )
        return self.storage.document(kind, resource_id, nothing)


def _forget_nulls(patch: "PatchOp[Any]") -> None:
    """Entra ID removes a member by `{"$ref": null, "value": "…"}`: the null says nothing of the member."""
    for operation in patch.operations or ():
        if operation.op == PatchOperation.Op.remove and isinstance(operation.value, list):
            operation.value = [
                {name: value for name, value in one.items() if value is not None} if isinstance(one, dict) else one
                for one in operation.value
            ]


def _model(document: Document) -> Resource[Any]:
    model: Any = UserModel if document["meta"]["resourceType"] == "User" else GroupModel
    resource: Resource[Any] = model.model_validate(document)
    return resource
