"""All cases of the monitors."""

from __future__ import annotations

from .amqp import AMQP_WORLD
from .model import Case, Stage
from .mongodb import MONGODB_WORLD
from .pg import PG_WORLD
from .tyrant import TYRANT_STAGE
from .zmq import ZMQ_WORLD

STAGES = (
    Stage(name="plain", worlds=(PG_WORLD, MONGODB_WORLD, ZMQ_WORLD, AMQP_WORLD)),
    TYRANT_STAGE,
)
CASES: tuple[Case, ...] = tuple(case for stage in STAGES for world in stage.worlds for case in world.cases)
