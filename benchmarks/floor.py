"""What Dagster itself costs: a job of the same shape as the cleanup, with as many ops, that does nothing.

usage: dagster job execute -m benchmarks.floor -j floor_of_no_batch (or floor_of_one_batch)
"""

from collections.abc import Iterator

import dagster as dg


@dg.op(out={"found": dg.Out(int), "batches": dg.DynamicOut(int)})
def find(number: int) -> Iterator[dg.Output[int] | dg.DynamicOutput[int]]:
    yield dg.Output(number, "found")
    for each in range(number):
        yield dg.DynamicOutput(each, output_name="batches", mapping_key=f"{each:05}")


@dg.op
def check(batch: int) -> int:
    return batch


@dg.op
def mark(batch: int) -> int:
    return batch


@dg.op
def report(found: int, batches: list[int]) -> int:
    return found + len(batches)


@dg.graph
def sweep(number: int) -> None:
    found, batches = find(number)
    report(found, batches.map(check).map(mark).collect())


defs = dg.Definitions(
    jobs=[
        sweep.to_job(name=f"floor_of_{name}", executor_def=dg.in_process_executor, input_values={"number": number})
        for name, number in (("no_batch", 0), ("one_batch", 1))
    ]
)
