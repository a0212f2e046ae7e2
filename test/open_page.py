"""A page of operator_node that somebody looks at while a scene runs."""

from __future__ import annotations

import asyncio
import threading

import aiohttp
from operator_page import Page
from robot import parameters
from scene import Scene

from ebm_policy_ros.nodes.operator.node import OperatorNode


class OpenPage:
    """operator_node in the executor of a scene, and a page with all pictures in a thread."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._node = OperatorNode(
            context=scene.context, parameter_overrides=parameters(port=0, use_sim_time=True)
        )
        scene.add(self._node)
        self.states = 0
        """Number of states that it has shown."""
        self.pictures: set[str] = set()
        """Pictures that it has got."""
        self._ends = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._look()))
        self._thread.start()
        # The scene may be over before a camera that is looked for once a second is found.
        scene.wait(lambda: scene.node.count_subscribers(scene.topics["camera"]) > 0)

    async def _look(self) -> None:
        async with aiohttp.ClientSession() as http:
            page = await Page(http, self._node.url).open()
            shown: list[str] = []
            while not self._ends.is_set():
                for state in page.states:
                    if state["pictures"] != shown:
                        shown = state["pictures"]
                        await page.socket.send_json({"type": "show", "pictures": shown})
                self.states += len(page.states)
                page.states.clear()
                self.pictures |= page.pictures.keys()
                await asyncio.sleep(0.02)
            await page.close()

    def close(self) -> None:
        self._ends.set()
        self._thread.join()
        self._scene.executor.remove_node(self._node)
        self._node.close()
        self._node.destroy_node()
