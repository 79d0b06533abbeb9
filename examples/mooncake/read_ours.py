"""Reads an object that one of our stores registered with Mooncake's engine: read_ours.py ETCD NAME FILE."""

import base64, ctypes, json, sys, urllib.request  # noqa: E401
from mooncake.engine import TransferEngine

etcd, name, path = sys.argv[1:]
key = base64.b64encode(f"mooncake/checkpoint/{name}".encode()).decode()
answer = urllib.request.urlopen(f"http://{etcd}/v3/kv/range", json.dumps({"key": key}).encode())
record = json.loads(base64.b64decode(json.load(answer)["kvs"][0]["value"]))

memory = (ctypes.c_char * record["size"])()
address = ctypes.addressof(memory)
engine = TransferEngine()
assert engine.initialize("127.0.0.1:12399", etcd, "tcp", "") == 0
assert engine.register_memory(address, record["size"]) == 0
for shard in record["shards"]:
    source = shard["gold"][0]
    assert engine.transfer_sync_read(source["segment_name"], address, source["offset"], shard["size"]) == 0
    address += shard["size"]
with open(path, "wb") as file:
    file.write(memory)
