"""One served copy of a model: vLLM behind its door, with somebody who watches whether the engine still works.

The model runs in `ray.serve.llm` (vLLM), one replica per GPU or group of GPUs, or one of one CPU where there is none.
Serve would start it through a separate ingress deployment; here the replica itself is the ingress and gives out
vLLM's own routes. That saves two processes that import vLLM, and a hop per request. On CPU the engine core also
runs the model itself instead of in a process of its own. A start on 2 cores takes half as long for it, and the model
answers three times as fast, because fewer processes wait for each other by spinning.

An engine ends in two ways. It dies: vLLM notices, but a replica of Serve would go on answering 500. Or it hangs (a
CUDA error, a stopped process): nobody notices. So every PROBE_SECONDS the engine is asked something trivial, which
it answers between two steps. When it is dead, or gives no answer for `Server.hang_seconds`, the door drops everyone
with a 503, the engine's processes are killed, and the health check fails until Serve has replaced the replica.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from typing import Any

from hare_ray.synth.door import Door
from hare_ray.synth.server import Server, engine_arguments

PROBE_SECONDS = 1.0

logger = logging.getLogger("ray.serve")


class Replica:
    """Serve sends it requests for vLLM's own routes."""

    async def __init__(self, server: Server, key: str) -> None:
        """Load the model."""
        arguments = engine_arguments(server)  # first: it says what is wrong before minutes of loading
        from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
        from ray.serve.llm import LLMConfig
        from ray.serve.llm.deployment import LLMServer

        class OneProcess(VLLMEngine):
            """An engine whose core runs the model itself."""

            def _prepare_engine_config(self, callback_ctx: Any) -> Any:
                arguments, frontend, config = super()._prepare_engine_config(callback_ctx)
                config.parallel_config.distributed_executor_backend = "uni"
                return arguments, frontend, config

        accelerator: Any = {"kind": "gpu" if server.gpus else "cpu"}
        config: Any = LLMConfig(
            model_loading_config={"model_id": server.name, "model_source": server.model},
            placement_group_config={"bundles": server.bundles},
            accelerator_config=accelerator,
            engine_kwargs=arguments,
            log_engine_metrics=False,  # see `server`
        )
        # It would import vLLM in another process only to look for the files.
        config.get_or_create_callback().ctx.run_init_node = False
        self.config = server
        self.key = key
        self.server = LLMServer.sync_init(config)
        self.server.engine = VLLMEngine(config) if server.gpus else OneProcess(config)
        await self.server.engine.start()  # LLMServer.start would leave an actor for usage statistics behind

    async def __serve_build_asgi_app__(self) -> Door:
        """The routes, asked for by `serve.ingress`."""
        routes = await self.server.__serve_build_asgi_app__()
        self.door = Door(routes, self.config.capacity, self.key, lambda: self._client.errored)
        self.watching = asyncio.create_task(self._watch())
        return self.door

    @property
    def _client(self) -> Any:
        """VLLM's own handle of its engine."""
        engine: Any = self.server.engine
        return engine._engine_client

    async def check_health(self) -> None:
        """Raises when the engine is gone; Serve then starts another replica."""
        if self.door.shut:
            raise RuntimeError(self.door.shut)

    async def _watch(self) -> None:
        """Return when the engine is gone, with the door shut."""
        from vllm.v1.engine.exceptions import EngineDeadError

        why = "the engine is dead; another is started"
        try:
            while not self._client.errored:
                async with asyncio.timeout(self.config.hang_seconds):
                    await self._client.engine_core.is_sleeping_async()
                await asyncio.sleep(PROBE_SECONDS)
        except TimeoutError:
            why = f"the engine gave no sign of life for {self.config.hang_seconds:g} s; another is started"
        except EngineDeadError:
            pass
        finally:
            logger.error("%s: %s", self.config.name, why)
            self.door.close(why, drop=True)
            for process in multiprocessing.active_children():
                process.kill()  # a stopped process would outlive us
