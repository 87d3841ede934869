"""The session's cookie."""

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response

from modelgrid.config.model import ApiConfig


def put_session_cookie(response: Response, headers: Headers, api: ApiConfig, token: str, seconds: float) -> None:
    """Out of scripts' reach, sent to this host alone and from its own pages alone."""
    secure = _is_secure(headers, api)
    response.set_cookie(
        _name(api, secure=secure),
        token,
        max_age=int(seconds),
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def drop_session_cookie(response: Response, headers: Headers, api: ApiConfig) -> None:
    secure = _is_secure(headers, api)
    response.delete_cookie(_name(api, secure=secure), path="/", secure=secure, httponly=True, samesite="strict")


def session_token(headers: Headers, api: ApiConfig) -> str | None:
    """Return the token of the session's cookie. Over TLS only the name counts that no other host can have set."""
    cookies = cookie_parser("; ".join(headers.getlist("cookie")))
    names = [_name(api, secure=True)] if api.tls else [_name(api, secure=True), _name(api, secure=False)]
    return next((cookies[name] for name in names if cookies.get(name)), None)


def _name(api: ApiConfig, *, secure: bool) -> str:
    # Browsers keep cookies by host, not by port: two daemons on one machine must not share a name.
    return f"{'__Host-' if secure else ''}modelgrid-{api.ui_port}"


def _is_secure(headers: Headers, api: ApiConfig) -> bool:
    """A proxy may speak TLS for us. A browser then says so itself, and lying would only harm its own cookie."""
    return api.tls is not None or headers.get("origin", "").startswith("https://")
