# Made by `make docs` from the OpenAPI document. Do not edit.
"""One method per operation of the console API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from modelgrid.client.transport import Transport, part, path

if TYPE_CHECKING:
    from modelgrid.client.views import (
        ApiKeyBody,
        ApiKeyList,
        ApiKeyView,
        AuditList,
        AuditVerified,
        CatalogList,
        CatalogView,
        Checks,
        ClientList,
        ClusterView,
        ConfigPatch,
        ConfigPatched,
        ConfigView,
        DeployedList,
        DeploymentDetail,
        DeploymentList,
        DeploymentMetrics,
        DeploymentState,
        DeploymentView,
        DriverList,
        EventList,
        EventPage,
        GpuList,
        Health,
        HistoryList,
        HistoryView,
        JoinBody,
        JoinSnippet,
        Joined,
        Left,
        Level,
        LogPage,
        LogRecordList,
        LogSourceList,
        LoginBody,
        MetricNames,
        NewApiKey,
        NewTokenView,
        NodeList,
        NodeView,
        Origin,
        Overview,
        OwnPasswordBody,
        PasswordBody,
        PlacementList,
        Preview,
        PreviewBody,
        Removed,
        Restart,
        ScaleBody,
        SeriesList,
        SessionList,
        SessionView,
        Subject,
        TargetBody,
        TargetList,
        TargetView,
        TokenBody,
        TokenList,
        TokenView,
    )


class Calls(Transport):
    """Every operation by its id. What is left out takes the default that the document names."""

    def health(self) -> Health:
        """Answer 200 without a credential once control serves."""
        answer: Health = self._json("GET", "/health")
        return answer

    def overview(self) -> Overview:
        """Return the whole in one answer: what runs here, and what needs somebody."""
        answer: Overview = self._json("GET", "/overview")
        return answer

    def doctor(self) -> Checks:
        """Make every check an operator would make, with the fix for what fails."""
        answer: Checks = self._json("GET", "/doctor")
        return answer

    def show_config(self) -> ConfigView:
        """Return the configuration with defaults, where it came from and what waits for a restart, secrets redacted."""
        answer: ConfigView = self._json("GET", "/config")
        return answer

    def patch_config(
        self,
        body: ConfigPatch,
        *,
        dry_run: bool | None = None,
        if_match: str | int | None = None,
    ) -> ConfigPatched:
        """Change config.json and apply what can be applied at once; with `dry_run` only tell what would change.

        The file is checked whole before it is written; `details.errors` of a refusal has the keys that are wrong.
        """
        answer: ConfigPatched = self._json("PATCH", "/config", query={"dry_run": dry_run}, body=body, if_match=if_match)
        return answer

    def restart_daemon(self) -> Restart:
        """Restart control and replace the gateways one for one, without losing a request; engines run on.

        Refused with 409 where the daemon would not come up again. Goes on after the answer.
        """
        answer: Restart = self._json("POST", "/daemon/restart")
        return answer

    def config_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of config.json."""
        answer: dict[str, Any] = self._json("GET", "/config/schema")
        return answer

    def show_cluster(self) -> ClusterView:
        """Return this node's place in its cluster."""
        answer: ClusterView = self._json("GET", "/cluster")
        return answer

    def invite_node(self) -> JoinSnippet:
        """Make an invitation for one node, good for 15 minutes, and what to run there."""
        answer: JoinSnippet = self._json("POST", "/nodes/join")
        return answer

    def remove_node(self, name: str, *, force: bool | None = None) -> Removed:
        """Take a node out of the cluster. Its credential is worth nothing from then on."""
        answer: Removed = self._json("DELETE", f"/nodes/{part(name)}", query={"force": force})
        return answer

    def show_node(self, name: str) -> NodeView:
        """Return one node. Its ETag names its status, which is what can be changed."""
        answer: NodeView = self._json("GET", f"/nodes/{part(name)}")
        return answer

    def join_cluster(self, body: JoinBody) -> Joined:
        """Make this node a worker of a control plane, and restart it as that. Engines and requests go on."""
        answer: Joined = self._json("POST", "/cluster/join", body=body)
        return answer

    def leave_cluster(self) -> Left:
        """Make this worker a node of its own again, and restart it as that. Its engines run on."""
        answer: Left = self._json("POST", "/cluster/leave")
        return answer

    def list_nodes(self) -> NodeList:
        """Return the nodes with what they have and how they are."""
        answer: NodeList = self._json("GET", "/nodes")
        return answer

    def act_on_node(
        self,
        name: str,
        action: Literal["cordon", "drain", "activate"],
        *,
        if_match: str | int | None = None,
    ) -> NodeView:
        """Cordon (nothing new lands), drain (and what runs moves away) or activate a node."""
        answer: NodeView = self._json("POST", f"/nodes/{part(name)}/{part(action)}", if_match=if_match)
        return answer

    def list_gpus(self) -> GpuList:
        """Return every GPU with its newest reading and the deployments on it."""
        answer: GpuList = self._json("GET", "/gpus")
        return answer

    def list_drivers(self) -> DriverList:
        """Return what is installed per GPU vendor, with known faults and what mends them."""
        answer: DriverList = self._json("GET", "/drivers")
        return answer

    def list_targets(self) -> TargetList:
        """Return everything that is desired."""
        answer: TargetList = self._json("GET", "/targets")
        return answer

    def preview_target(self, body: PreviewBody) -> Preview:
        """Return what `PUT targets/{model}` would do, per GPU, without doing it."""
        answer: Preview = self._json("POST", "/targets/preview", body=body)
        return answer

    def show_target(self, model: str) -> TargetView:
        """Return one target, by its name or an alias of its model. Its ETag is its revision."""
        answer: TargetView = self._json("GET", f"/targets/{path(model)}")
        return answer

    def put_target(self, model: str, body: TargetBody, *, if_match: str | int | None = None) -> TargetView:
        """Ensure a target. Repeating it changes nothing. Answers when it is accepted; deployments follow."""
        answer: TargetView = self._json("PUT", f"/targets/{path(model)}", body=body, if_match=if_match)
        return answer

    def scale_target(self, model: str, body: ScaleBody, *, if_match: str | int | None = None) -> TargetView:
        """Change the number of replicas, and nothing else: settings and sealed environment values stay."""
        answer: TargetView = self._json("PATCH", f"/targets/{path(model)}", body=body, if_match=if_match)
        return answer

    def delete_target(self, model: str, *, if_match: str | int | None = None) -> TargetView:
        """Clear a target; its deployments drain and end after the answer."""
        answer: TargetView = self._json("DELETE", f"/targets/{path(model)}", if_match=if_match)
        return answer

    def list_placements(self) -> PlacementList:
        """Return where every target's deployments are, grouped by target."""
        answer: PlacementList = self._json("GET", "/placements")
        return answer

    def list_deployments(
        self,
        *,
        state: list[DeploymentState] | None = None,
        model: str | None = None,
        node: str | None = None,
        origin: Origin | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> DeploymentList:
        """Return the deployments, oldest first; with filters those that fit all of them."""
        answer: DeploymentList = self._json(
            "GET",
            "/deployments",
            query={"state": state, "model": model, "node": node, "origin": origin, "limit": limit, "after": after},
        )
        return answer

    def show_deployment(self, deployment: str) -> DeploymentDetail:
        """Return one deployment; `deployment` may be the beginning of its id."""
        answer: DeploymentDetail = self._json("GET", f"/deployments/{part(deployment)}")
        return answer

    def remove_deployment(self, deployment: str) -> DeploymentView:
        """Drain, stop and remove a deployment; its target wants one replica less. Goes on after the answer."""
        answer: DeploymentView = self._json("DELETE", f"/deployments/{part(deployment)}")
        return answer

    def act(self, deployment: str, action: Literal["start", "stop", "restart"]) -> DeploymentView:
        """Start, stop or restart a deployment. Returns at once; the state tells how far it is."""
        answer: DeploymentView = self._json("POST", f"/deployments/{part(deployment)}/{part(action)}")
        return answer

    def deployment_logs(
        self,
        deployment: str,
        *,
        after: int | None = None,
        tail: int | None = None,
        wait: float | None = None,
        level: Level | None = None,
        grep: str | None = None,
        since: float | None = None,
    ) -> LogPage:
        """Return the last `tail` lines; with `after` those that follow it, waiting up to `wait` seconds for one.

        A deployment that is gone answers with what the log still has of it, at least the lines kept in its history.
        """
        answer: LogPage = self._json(
            "GET",
            f"/deployments/{part(deployment)}/logs",
            query={"after": after, "tail": tail, "wait": wait, "level": level, "grep": grep, "since": since},
        )
        return answer

    def deployment_events(self, deployment: str, *, after: int | None = None, limit: int | None = None) -> EventPage:
        """Return the timeline, oldest first; also of a deployment that is gone."""
        answer: EventPage = self._json(
            "GET",
            f"/deployments/{part(deployment)}/events",
            query={"after": after, "limit": limit},
        )
        return answer

    def list_history(
        self,
        *,
        limit: int | None = None,
        before: str | None = None,
        model: str | None = None,
        node: str | None = None,
        origin: Origin | None = None,
    ) -> HistoryList:
        """Return deployments that ended, newest first, without their log lines. One that was started again is left out,
        and one that is being removed until that is done.
        """
        answer: HistoryList = self._json(
            "GET",
            "/history",
            query={"limit": limit, "before": before, "model": model, "node": node, "origin": origin},
        )
        return answer

    def show_history(self, deployment: str) -> HistoryView:
        """Return one ended deployment with its last log lines."""
        answer: HistoryView = self._json("GET", f"/history/{part(deployment)}")
        return answer

    def list_events(
        self,
        *,
        subject: Subject | None = None,
        subject_id: str | None = None,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
        newest_first: bool | None = None,
    ) -> EventList:
        """Return stored events of everything, or of one subject, between two numbers."""
        answer: EventList = self._json(
            "GET",
            "/timeline",
            query={
                "subject": subject,
                "subject_id": subject_id,
                "after": after,
                "before": before,
                "limit": limit,
                "newest_first": newest_first,
            },
        )
        return answer

    def list_logs(
        self,
        *,
        source: list[str] | None = None,
        level: Level | None = None,
        grep: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
        wait: float | None = None,
        node: str | None = None,
    ) -> LogRecordList:
        """Return log records, oldest first: the last `limit` that are wanted, or with `after` the first ones that
        follow.

        Every node has a log of its own; a control plane asks the `node`, and the node of a single deployment as
        `source`. `format=ndjson` streams all that are wanted, one JSON object per line, with no limit.
        """
        answer: LogRecordList = self._json(
            "GET",
            "/logs",
            query={
                "source": source,
                "level": level,
                "grep": grep,
                "since": since,
                "until": until,
                "after": after,
                "before": before,
                "limit": limit,
                "wait": wait,
                "node": node,
            },
        )
        return answer

    def list_log_sources(self) -> LogSourceList:
        """Return who writes to the logs of the nodes: each node's own processes, and the engines that it runs."""
        answer: LogSourceList = self._json("GET", "/logs/sources")
        return answer

    def metrics_series(
        self,
        *,
        name: list[str],
        since: float | None = None,
        until: float | None = None,
        step: int | None = None,
        model: str | None = None,
        deployment: str | None = None,
        node: str | None = None,
        gpu: str | None = None,
    ) -> SeriesList:
        """Return series: by default of the last 15 minutes, every second of them; the last day is kept every 10 s.

        Names without a prefix are of the whole fleet; `model_`, `deployment_` and `gpu_` ones have labels to filter
        by.
        """
        answer: SeriesList = self._json(
            "GET",
            "/metrics/series",
            query={
                "name": name,
                "since": since,
                "until": until,
                "step": step,
                "model": model,
                "deployment": deployment,
                "node": node,
                "gpu": gpu,
            },
        )
        return answer

    def metrics_names(self) -> MetricNames:
        """Return the metrics that are kept as series."""
        answer: MetricNames = self._json("GET", "/metrics/names")
        return answer

    def metrics_dashboard(self) -> Any:
        """Return a Grafana dashboard of what port 8080 gives Prometheus, to import as it is."""
        answer: Any = self._json("GET", "/metrics/dashboard")
        return answer

    def metrics_scrape_config(self) -> str:
        """Return the entry of `scrape_configs` in prometheus.yml, as YAML; the key goes into the file it names."""
        return self._text("GET", "/metrics/scrape-config")

    def deployment_metrics(self, deployment: str) -> DeploymentMetrics:
        """Return the present of one deployment: traffic, what its engine says, and the last minutes' histograms."""
        answer: DeploymentMetrics = self._json("GET", f"/deployments/{part(deployment)}/metrics")
        return answer

    def list_catalog(self) -> CatalogList:
        """Return every model that can be deployed, from all sources."""
        answer: CatalogList = self._json("GET", "/catalog")
        return answer

    def refresh_catalog(self) -> CatalogList:
        """Fetch every source anew. A source that cannot be reached is a note; its last good copy stays in use."""
        answer: CatalogList = self._json("POST", "/catalog/refresh")
        return answer

    def show_model(self, model: str) -> CatalogView:
        """Return one catalog entry, by its id or an alias."""
        answer: CatalogView = self._json("GET", f"/catalog/{path(model)}")
        return answer

    def list_models(self) -> DeployedList:
        """Return the models that are deployed, as `/v1/models` of the gateway does, with replica counts."""
        answer: DeployedList = self._json("GET", "/models")
        return answer

    def list_api_keys(
        self,
        *,
        status: Literal["active", "expired", "revoked"] | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> ApiKeyList:
        """Return API keys, oldest first, without their secrets; revoked ones, too."""
        answer: ApiKeyList = self._json("GET", "/apikeys", query={"status": status, "limit": limit, "after": after})
        return answer

    def generate_api_key(self, body: ApiKeyBody) -> NewApiKey:
        """Make a key for the gateway. The answer is the only place where its secret is ever shown."""
        answer: NewApiKey = self._json("POST", "/apikeys", body=body)
        return answer

    def revoke_api_key(self, key: str) -> ApiKeyView:
        """Revoke a key by its id, label or prefix. Gateways refuse it from then on."""
        answer: ApiKeyView = self._json("DELETE", f"/apikeys/{part(key)}")
        return answer

    def list_clients(self) -> ClientList:
        """Per-consumer limits and labels are not configured yet; the slot is reserved."""
        answer: ClientList = self._json("GET", "/clients")
        return answer

    def set_password(self, name: str, body: PasswordBody) -> None:
        """Give a user a new password."""
        self._do("PUT", f"/users/{part(name)}/password", body=body)

    def login(self, body: LoginBody) -> SessionView:
        """Open a session with a user's password; the answer sets its cookie. Needs no credential.

        After several wrong passwords from one address further tries there are answered with 429 and `Retry-After`.
        """
        answer: SessionView = self._json("POST", "/login", body=body)
        return answer

    def logout(self) -> None:
        """End the session of this call."""
        self._do("POST", "/logout")

    def show_session(self) -> SessionView:
        """Return who makes this call, and what they may do."""
        answer: SessionView = self._json("GET", "/session")
        return answer

    def change_password(self, body: OwnPasswordBody) -> SessionView:
        """Change one's own password. All sessions of the user end; the answer sets the cookie of a new one."""
        answer: SessionView = self._json("POST", "/password", body=body)
        return answer

    def list_sessions(self) -> SessionList:
        """Return all login sessions."""
        answer: SessionList = self._json("GET", "/sessions")
        return answer

    def end_session(self, session: str) -> None:
        """End anybody's session: its next call is refused, its streams close."""
        self._do("DELETE", f"/sessions/{part(session)}")

    def list_tokens(
        self,
        *,
        status: Literal["active", "expired", "revoked"] | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> TokenList:
        """Return tokens, oldest first; revoked ones, too."""
        answer: TokenList = self._json("GET", "/tokens", query={"status": status, "limit": limit, "after": after})
        return answer

    def generate_token(self, body: TokenBody) -> NewTokenView:
        """Make a token for scripts. The answer is the only place where its secret is ever shown."""
        answer: NewTokenView = self._json("POST", "/tokens", body=body)
        return answer

    def revoke_token(self, token: str) -> TokenView:
        """Revoke a token by its id, label or prefix. Its next call is refused, its streams close."""
        answer: TokenView = self._json("DELETE", f"/tokens/{part(token)}")
        return answer

    def list_audit(
        self,
        *,
        before: int | None = None,
        limit: int | None = None,
        who: str | None = None,
        action: str | None = None,
    ) -> AuditList:
        """Return who did what, when, from where and with what result, newest first."""
        answer: AuditList = self._json(
            "GET",
            "/audit",
            query={"before": before, "limit": limit, "who": who, "action": action},
        )
        return answer

    def verify_audit(self) -> AuditVerified:
        """Compute the chain of the whole audit log anew, and tell whether somebody changed it."""
        answer: AuditVerified = self._json("GET", "/audit/verify")
        return answer
