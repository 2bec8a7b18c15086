"""The live view's server side. It sends the browser each step that an erk_* sampler makes, in any node.

Each step is one message of type "erk_guid.step" to the page that queued the prompt. If that page is gone or
has turned the chart off, nothing is sent and nothing is computed. On a GPU a step costs one small asynchronous
copy. The run never waits for it: the values are sent when a later check finds that they have arrived.
"""

from .page import EVENT, ROUTE, SHOW, is_planned_from, register, watching
from .view import LiveView, Origin, message

__all__ = ["EVENT", "ROUTE", "SHOW", "LiveView", "Origin", "is_planned_from", "message", "register", "watching"]
