"""Ask 2,000 questions on two Ray actors. If it is interrupted, run it again to resume."""

import sys
from pathlib import Path

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data.checkpoint import CheckpointConfig

from llama_dashscope import Client, Pace
from llama_dashscope.ray import AskRows

QUESTIONS, ACTORS = 2_000, 2
REQUESTS_PER_MINUTE = 12_000  # the account's limit for this model


def make_client() -> Client:
    """Create an actor's client, with the actor's share of the limit."""
    return Client(pace=Pace(requests_per_minute=REQUESTS_PER_MINUTE / ACTORS))


def write_questions(folder: Path) -> None:
    """Write the questions to files: Ray can resume only what it reads from files."""
    questions = [{"id": n, "prompt": f"{n} 的平方是多少？"} for n in range(QUESTIONS)]
    ray.data.from_items(questions).repartition(1).write_parquet(str(folder / "questions"))


def answer_them(folder: Path) -> None:
    """Ask the questions and write the answers, block by block."""
    context = DataContext.get_current()
    context.checkpoint_config = CheckpointConfig(
        id_column="id", checkpoint_path=str(folder / "checkpoint")
    )
    (
        ray.data.read_parquet(str(folder / "questions"))
        .repartition(QUESTIONS // 50)  # number of blocks; a killed actor loses its block
        .map_batches(
            AskRows,
            fn_constructor_kwargs={"client": make_client, "model": "llama3.3-70b-instruct"},
            batch_size=50,
            compute=ActorPoolStrategy(size=ACTORS),
            num_cpus=0.5,  # an actor mostly waits
        )
        .write_parquet(str(folder / "answers"))
    )


if __name__ == "__main__":
    # Two actors take one CPU, the checkpoint's filter another; if none is left for reading and
    # writing, the run hangs. Ray only counts CPUs: the machine may have fewer than four.
    ray.init(num_cpus=4, include_dashboard=False)
    chosen = Path(sys.argv[1] if sys.argv[1:] else "answered").absolute()
    if not (chosen / "questions").exists():
        write_questions(chosen)
    answer_them(chosen)
