"""The peer: one authenticated, tenant-scoped read in FastAPI on asyncpg, as a careful team would write it first.

The same tables, role and row security as the product's, five round trips: key, BEGIN, tenant, row, COMMIT. With
BENCH_METERING=insert a sixth counts the read in the same transaction; without it the peer counts nothing.
"""

import hashlib
import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from fastapi import FastAPI, Header, HTTPException, Request, Response

PEPPER = os.environ["BENCH_PEPPER"].encode()
IS_METERED = os.environ.get("BENCH_METERING") == "insert"

FIND_KEY = "SELECT key_id, organization_id, project_id, scopes, expires_at FROM tenancy_find_key($1)"
READ = (
    "SELECT document FROM memory_capsule WHERE organization_id = $1 AND project_id = $2 AND capsule_id = $3"
    " AND (expires_at IS NULL OR expires_at > now())"
)
COUNT = (
    "INSERT INTO metering_usageevent (organization_id, id, project_id, key_id, meter, quantity, end_user, occurred_at)"
    " VALUES ($1, uuidv7(), $2, $3, 'read', 1, '', now())"
)


@asynccontextmanager
async def lifespan(application: FastAPI) -> AsyncIterator[None]:
    """A pool of as many connections as the product has threads in one process."""
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=4, max_size=4) as pool:
        application.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    """For whoever waits until the peer runs."""
    return {"status": "ok"}


@app.get("/api/v1/capsules/{capsule_id}")
async def get_capsule(capsule_id: str, request: Request, authorization: str = Header(default="")) -> Response:
    """One capsule's document, passed on as text."""
    secret = authorization.removeprefix("Bearer ")
    digest = hmac.digest(PEPPER, secret.encode(), hashlib.sha256)
    async with request.app.state.pool.acquire() as connection:
        key = await connection.fetchrow(FIND_KEY, digest)
        if key is None or "memory:read" not in key["scopes"]:
            raise HTTPException(401, "Invalid or missing API key")
        async with connection.transaction():
            await connection.fetchval("SELECT set_config('app.organization_id', $1, true)", str(key["organization_id"]))
            document = await connection.fetchval(READ, key["organization_id"], key["project_id"], capsule_id)
            if IS_METERED:
                await connection.execute(COUNT, key["organization_id"], key["project_id"], key["key_id"])
    if document is None:
        raise HTTPException(404, f"Capsule {capsule_id} not found")
    return Response(document, media_type="application/json")
