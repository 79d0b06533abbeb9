"""A real Mooncake engine that does what it is told, one JSON object a line.

Arguments: metadata URI, segment name, bytes of memory to register; an RDMA device, or nothing for TCP. Its memory is a
memfd, so that the test that started it can look at it and change it without any engine.
"""

import ctypes
import json
import mmap
import os
import sys

from mooncake.engine import TransferEngine, TransferNotify, TransferOpcode

metadata, name, size, device = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
fd = os.memfd_create("peer", 0)
os.ftruncate(fd, size)
memory = mmap.mmap(fd, size)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
engine = TransferEngine()


def answer(**fields):
    print(json.dumps(fields), flush=True)


def transfer(command):
    opcode = TransferOpcode.Read if command["opcode"] == "read" else TransferOpcode.Write
    notify = TransferNotify(*command["notify"]) if "notify" in command else None
    local = address + command["offset"]
    return engine.transfer_sync(command["segment"], local, command["remote"], command["length"], opcode, notify)


started = engine.initialize(name, metadata, "rdma" if device else "tcp", device)
registered = engine.register_memory(address, size)
answer(status=started or registered, address=address, fd=fd, rpcPort=engine.get_rpc_port())
for line in sys.stdin:
    command = json.loads(line)
    if command["do"] == "transfer":
        answer(status=transfer(command))
    elif command["do"] == "probe":
        answer(status=engine.send_probe(command["segment"]))
    elif command["do"] == "first-buffer":
        answer(status=0, address=engine.get_first_buffer_address(command["segment"]))
    elif command["do"] == "notifies":
        answer(status=0, notifies=[[notify.name, notify.msg] for notify in engine.get_notifies()])
