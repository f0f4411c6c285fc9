"""The page: settings at one side, tabs in the middle, the selected picture at the other side."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from text2latent.apps.serving.page.compare_tab import CompareTab
from text2latent.apps.serving.page.controls import Controls
from text2latent.apps.serving.page.desk import Desk
from text2latent.apps.serving.page.draw_tab import DrawTab, examples_for
from text2latent.apps.serving.page.edit_tab import EditTab
from text2latent.apps.serving.page.mix_tab import MixTab
from text2latent.apps.serving.page.selection import Selection
from text2latent.apps.serving.page.texts import both, say
from text2latent.apps.serving.page.upload_tab import UploadTab
from text2latent.apps.serving.page.visits import Visits

if TYPE_CHECKING:
    from text2latent.apps.serving.engine import Engine
    from text2latent.apps.serving.visitor_files import Uploads

TITLE = "text2latent"
KEEP_FILES_SECONDS = 24 * 3600
MOST_EVENTS = 4096
REMEMBERED_VISITS = 200
"""Visits whose last pictures are kept in memory; of more, those that have been quiet for longest are forgotten."""
LOOK_FOR_OLD_FILES_SECONDS = 3600


class Page(gr.Blocks):
    """Gradio's page, whose errors are texts: browsers would take them for HTML, and they quote what users wrote."""

    async def process_api(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """As Gradio has it."""
        try:
            return await super().process_api(*arguments, **options)
        except gr.Error as error:
            error.message = escape(str(error.message), quote=False)
            # What a client has asked for wrongly is no fault of the server's.
            error.print_exception = False
            raise


def build_page(engine: Engine, visits: Visits, uploads: Uploads) -> gr.Blocks:
    """The page that drives an engine; its looks and languages are given when it is mounted, see `appearance`.

    Args:
        engine: what draws.
        visits: what is being done for whom.
        uploads: the files that visitors have sent.
    """
    cleaning = (LOOK_FOR_OLD_FILES_SECONDS, KEEP_FILES_SECONDS)
    with Page(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=cleaning) as page:
        model = _add_header(engine)
        with gr.Row(elem_id="t2l-main"):
            with gr.Column(elem_id="t2l-controls"):
                controls = Controls(model, engine.limits)
            with gr.Column(elem_id="t2l-stage"), gr.Tabs(elem_id="tabs") as tabs:
                draw = DrawTab(engine.limits, examples_for(engine, model.value))
                others = [tab(engine.limits) for tab in (MixTab, EditTab, CompareTab, UploadTab)]
            with gr.Column(elem_id="t2l-selection"):
                selection = Selection()
        desk = Desk(engine, controls, selection, tabs, visits, uploads)
        for tab in (draw, *others):
            tab.wire(desk)
        selection.wire()
        page.unload(desk.visits.leave)
    # The engine says how many may draw at once and how many may wait; here, only what never ends is refused, and what
    # waits takes nobody else's place. Without the queue, only that runs which is done at once.
    page.max_threads = MOST_EVENTS
    page.state_session_capacity = REMEMBERED_VISITS
    return page.queue(default_concurrency_limit=None, max_size=MOST_EVENTS, api_open=False)


def _add_header(engine: Engine) -> gr.Dropdown:
    """Name and model picker."""
    names = [model.name for model in engine.models]
    with gr.Row(elem_id="t2l-header"):
        gr.HTML(f"<h1>{escape(TITLE)}</h1><p>{both('tagline')}</p>", elem_id="t2l-brand")
        return gr.Dropdown(names, value=names[0], label=say("model"), filterable=len(names) > 8, elem_id="model",
            container=False, show_label=False, scale=0)  # fmt: skip
