"""Puts the console API together."""

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware

from modelgrid import __version__
from modelgrid.api import access, catalog, config, deployments, events, nodes, overview, sessions, targets
from modelgrid.api.auth import Authentication
from modelgrid.api.context import Services
from modelgrid.api.errors import ErrorView, install

PREFIX = "/v1/_ui"


def create_app(services: Services, token: str) -> FastAPI:
    """Return the ASGI application of the console port. `token` is the local operator's credential."""
    app = FastAPI(
        title="ModelGrid console API",
        version=__version__,
        description="Everything the console and the command line do. Times are Unix seconds, sizes are bytes.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=f"{PREFIX}/docs",
        redoc_url=None,
        redirect_slashes=False,
        middleware=[Middleware(Authentication, services=services, token=token)],
        generate_unique_id_function=_operation_id,
        responses={"default": {"model": ErrorView, "description": "What was wrong, and how to mend it."}},
    )
    app.state.services = services
    install(app)
    for resource in (overview, config, nodes, targets, deployments, events, catalog, access, sessions):
        app.include_router(resource.router, prefix=PREFIX)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
