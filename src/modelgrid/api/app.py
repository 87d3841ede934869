"""Puts the console API together."""

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware

from modelgrid import __version__
from modelgrid.api import (
    access,
    audit,
    catalog,
    config,
    deployments,
    docs_page,
    events,
    history,
    logs,
    membership,
    metrics,
    nodes,
    overview,
    sessions,
    stream,
    targets,
    tokens,
)
from modelgrid.api.audit import AuditMiddleware
from modelgrid.api.auth import Authentication
from modelgrid.api.console_files import ConsoleFiles
from modelgrid.api.context import Services
from modelgrid.api.elsewhere import Elsewhere
from modelgrid.api.errors import ErrorView, UnforeseenErrors, install
from modelgrid.api.guard import Guard
from modelgrid.api.openapi import publish
from modelgrid.api.stream import EventIds

PREFIX = "/v1/_ui"


def create_app(services: Services, token: str) -> FastAPI:
    """Return the ASGI application of the console port. `token` is the local operator's credential."""
    app = FastAPI(
        title="ModelGrid console API",
        version=__version__,
        description="Everything the console and the command line do. Times are Unix seconds, sizes are bytes.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # What is to be known of requests is in our log and metrics; an environment cannot have them told elsewhere.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        middleware=[
            Middleware(AuditMiddleware, services=services),
            Middleware(Guard, services=services),
            Middleware(Authentication, services=services, token=token),
            Middleware(UnforeseenErrors),
            Middleware(Elsewhere, services=services),
            Middleware(EventIds),
        ],
        generate_unique_id_function=_operation_id,
        responses={"default": {"model": ErrorView, "description": "What was wrong, and how to mend it."}},
    )
    app.state.services = services
    install(app)
    for resource in (
        overview,
        config,
        membership,
        nodes,
        targets,
        deployments,
        history,
        events,
        stream,
        logs,
        metrics,
        catalog,
        access,
        sessions,
        tokens,
        audit,
        docs_page,
    ):
        app.include_router(resource.router, prefix=PREFIX)
    app.router.default = ConsoleFiles()
    publish(app)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
