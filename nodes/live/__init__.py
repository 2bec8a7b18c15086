"""The live view's server side: tells the browser of each step that an erk_* sampler makes, in any node.

One message a step, of type "erk_guid.step", to the page that queued the prompt; none, and no work for it,
where that page is gone or has turned the chart off. On a GPU a step costs one small asynchronous copy:
its values are sent when they have arrived, which is looked up now and then and never waited for.
"""

from .page import EVENT, ROUTE, SHOW, register, watching
from .view import LiveView, Origin, message

__all__ = ["EVENT", "ROUTE", "SHOW", "LiveView", "Origin", "message", "register", "watching"]
