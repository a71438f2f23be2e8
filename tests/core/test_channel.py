import asyncio

from monitor.channel import Channel


async def test_wait_loses_nothing() -> None:
    channel: Channel[int] = Channel(3, "wait")

    async def produce() -> None:
        for number in range(100):
            await channel.put(number)
        channel.close()

    task = asyncio.create_task(produce())
    assert [number async for number in channel] == list(range(100))
    await task
    assert (channel.dropped, channel.peak) == (0, 3)


async def test_drop_oldest_makes_room_among_the_droppable() -> None:
    channel: Channel[int] = Channel(3, "drop_oldest", droppable=lambda number: number % 2 == 0)
    for number in range(7):
        await channel.put(number)
    channel.close()
    assert [number async for number in channel] == [1, 3, 5, 6]
    assert channel.dropped == 3


async def test_a_stuck_reader_costs_bounded_memory_even_in_sound() -> None:
    channel: Channel[int] = Channel(4, "drop_oldest", droppable=lambda number: False)
    for number in range(1000):
        await channel.put(number)
    assert channel.depth == channel.peak == 32
    assert channel.dropped == 968


async def test_finished_is_known_with_the_last_item() -> None:
    channel: Channel[int] = Channel(3, "wait")
    channel.put_nowait(1)
    channel.put_nowait(2)
    channel.close()
    assert [(number, channel.finished) async for number in channel] == [(1, False), (2, True)]
