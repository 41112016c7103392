"""What the daemon does when a command asks it over the control socket (`engine.control` names the shapes)."""

from typing import TYPE_CHECKING, Any

from engine.control import Handler, Request

if TYPE_CHECKING:
    from engine.app import App


def handlers(app: "App") -> dict[str, Handler]:
    async def status(_: Request) -> dict[str, Any]:
        return app.observer.snapshot().to_json()

    async def reload(request: Request) -> dict[str, Any]:
        await app.journal.act_note(request.actor, "reload", {})
        site = await app.reload()
        return {"config_hash": site.hash, "warnings": list(site.warnings)}

    return {"status": status, "reload": reload}
