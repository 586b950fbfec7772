"""2,000 questions on two actors of Ray. Interrupted, it goes on where it was: run it again."""

import sys
from pathlib import Path

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data.checkpoint import CheckpointConfig

from llama_dashscope import Client, Pace
from llama_dashscope.ray import AskRows

QUESTIONS, ACTORS = 2_000, 2
REQUESTS_PER_MINUTE = 12_000  # of the account, for this model


def make_client() -> Client:
    """Make the client of an actor, with the actor's share of the limit."""
    return Client(pace=Pace(requests_per_minute=REQUESTS_PER_MINUTE / ACTORS))


def write_questions(folder: Path) -> None:
    """Write the questions into files: only what is read from files can be gone on with."""
    questions = [{"id": n, "prompt": f"{n} 的平方是多少？"} for n in range(QUESTIONS)]
    ray.data.from_items(questions).repartition(1).write_parquet(str(folder / "questions"))


def answer_them(folder: Path) -> None:
    """Ask, and write the answers block by block."""
    context = DataContext.get_current()
    context.checkpoint_config = CheckpointConfig(
        id_column="id", checkpoint_path=str(folder / "checkpoint")
    )
    (
        ray.data.read_parquet(str(folder / "questions"))
        .repartition(QUESTIONS // 50)  # as many blocks; what is lost with an actor are blocks
        .map_batches(
            AskRows,
            fn_constructor_kwargs={"client": make_client, "model": "llama3.3-70b-instruct"},
            batch_size=50,
            compute=ActorPoolStrategy(size=ACTORS),
            num_cpus=0.5,  # an actor waits most of the time
        )
        .write_parquet(str(folder / "answers"))
    )


if __name__ == "__main__":
    # Two actors take one CPU, the checkpoint's filter another; with none left to read and write,
    # nothing would ever happen. Ray only counts them: there need not be as many.
    ray.init(num_cpus=4, include_dashboard=False)
    chosen = Path(sys.argv[1] if sys.argv[1:] else "answered").absolute()
    if not (chosen / "questions").exists():
        write_questions(chosen)
    answer_them(chosen)
