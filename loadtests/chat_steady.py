"""Streamed chat, closed model: N users, each asks again once its answer has ended.

``locust -f loadtests/chat_steady.py --host http://127.0.0.1:8080/v1 -u 20`` shows Locust's page;
``--headless -t 30s --samples DIR`` runs without it and keeps every sample.
"""

from gateproof.loadtests.rig import rig, serve
from locust import User, task

serve("chat-steady", open_model=False)


class ChatUser(User):
    """A user who asks, reads the whole answer, thinks, and asks again."""

    def wait_time(self) -> float:
        """Think as long as the plan says."""
        return rig().plan.think_s

    @task
    def chat(self) -> None:
        """Ask once."""
        rig().chat()
