"""A Weir client in Python: submits a job, watches it, and writes its images as PNG.

It is meant to be read: this is the whole protocol as a client sees it (proto/weir/v1/weir.proto says what each field means).

    ops/examples/run --label clay --count 2 --seed 7 --out out

1. A client talks to the broker's public endpoint with a DEALER socket, without the empty delimiter frame that REQ sockets send.
2. A message is a multipart. Its first frame is an Envelope. A request carries a number of the client's choice, which comes back with every
   answer; so any number of requests may be under way on one socket.
3. If the envelope says `tensors = n`, 2n frames follow, two for each tensor. The two joined are one serialised Tensor message.
4. Nothing that is sent is sure to arrive: a broker may be restarted at any moment. So a request that has no answer after a while is sent
   again, on a new socket. This is safe: a submission has a key that makes it one job, and every other request can be repeated.
5. A broker that other machines can reach is a CURVE server: it wants a client that knows its public key and has one that is on its list.
   --key-file and --broker-key take the files that 'weir keygen' writes.
"""

import argparse
import hashlib
import os
import secrets
import struct
import sys
import time

import zmq
import zmq.auth
from PIL import Image
from weir.v1 import weir_pb2 as pb

VERSION = 1
"""Of the protocol; the broker refuses what it doesn't understand."""


class Refused(Exception):
    """The broker said no. `refused.retry_after_ms` above 0: ask again then."""

    def __init__(self, refused):
        super().__init__(refused.reason)
        self.refused = refused


class Broker:
    def __init__(self, endpoint, key_file=None, broker_key=None, resend_after=2.5, patience=30.0):
        self.endpoint = endpoint
        self.keys = None
        if key_file and broker_key:
            self.keys = (*zmq.auth.load_certificate(key_file), zmq.auth.load_certificate(broker_key)[0])
        self.resend_after = resend_after
        self.patience = patience
        self.context = zmq.Context()
        self.requests = 0
        self.socket = None

    def dial(self):
        if self.socket is not None:
            self.socket.close(linger=0)
        self.socket = self.context.socket(zmq.DEALER)
        if self.keys is not None:
            self.socket.curve_publickey, self.socket.curve_secretkey, self.socket.curve_serverkey = self.keys
        self.socket.connect(self.endpoint)

    def ask(self, **body):
        """Sends a request, for example ask(fetch=pb.Fetch(job=job, sample=0)), and returns its answer: an envelope and its tensors."""
        return next(self.answers(**body))

    def answers(self, **body):
        """Sends a request and yields its answers for as long as the caller wants more. Only a watch has more than one."""
        self.requests += 1
        request = pb.Envelope(version=VERSION, request=self.requests, **body).SerializeToString()
        if self.socket is None:
            self.dial()
        self.socket.send(request)
        heard = time.monotonic()
        while True:
            if self.socket.poll(self.resend_after * 1000):
                envelope, tensors = decode(self.socket.recv_multipart())
                if envelope.request != self.requests:
                    continue  # a late answer to something asked before
                if envelope.HasField("refused"):
                    raise Refused(envelope.refused)
                heard = time.monotonic()
                yield envelope, tensors
            elif time.monotonic() - heard > self.patience:
                raise TimeoutError(f"no answer from {self.endpoint} for {self.patience:.0f} s: is a broker running there?")
            else:
                # The broker may be new and know nothing of this request, or the connection may be dead.
                self.dial()
                self.socket.send(request)


def decode(frames):
    """A message's envelope and tensors."""
    envelope = pb.Envelope.FromString(frames[0])
    tensors = [pb.Tensor.FromString(frames[i] + frames[i + 1]) for i in range(1, 1 + 2 * envelope.tensors, 2)]
    return envelope, tensors


def submit(broker, submission):
    """Hands in a job and returns its number. A broker that is not ready yet, or full, says when to ask again."""
    while True:
        try:
            envelope, _ = broker.ask(submit=submission)
            return envelope.accepted.job
        except Refused as error:
            if not error.refused.retry_after_ms:
                raise
            print(f"not now: {error}", file=sys.stderr)
            time.sleep(error.refused.retry_after_ms / 1000)


def watch(broker, job):
    """Follows a job to its end and returns its final state."""
    for envelope, _ in broker.answers(watch=pb.Watch(job=job)):
        status = envelope.event.status
        stages = "  ".join(f"{stage.stage} {stage.done}/{status.samples}" for stage in status.stages)
        print(f"job {job:016x}  {pb.JobState.Name(status.state).lower()}  {stages}", file=sys.stderr)
        if status.state in (pb.DONE, pb.FAILED, pb.CANCELLED):
            return status


def fetch(broker, job, sample):
    """One finished image and its pixels' tensor."""
    envelope, tensors = broker.ask(fetch=pb.Fetch(job=job, sample=sample))
    tensor = tensors[0]
    if hashlib.sha256(tensor.data).digest() != envelope.image.digest:
        raise ValueError(f"image {sample} of job {job:016x} is damaged")
    return envelope.image, tensor


def picture(tensor):
    """An image of a tensor of shape (3, height, width), little-endian 32-bit floats from -1 to 1."""
    assert tensor.dtype == pb.F32 and len(tensor.shape) == 3 and tensor.shape[0] == 3, "not an image"
    _, height, width = tensor.shape
    values = struct.unpack(f"<{3 * height * width}f", tensor.data)
    # (x + 1) * 127.5, the fraction dropped: the rule by which 'weir' makes its pixels, too.
    planes = bytes(min(255, max(0, int((value + 1) * 127.5))) for value in values)
    size = height * width
    bands = [Image.frombytes("L", (width, height), planes[i * size : (i + 1) * size]) for i in range(3)]
    return Image.merge("RGB", bands)


def main():
    parser = argparse.ArgumentParser(description="Submits a job to a Weir broker and writes its images.")
    parser.add_argument("--broker", default=os.environ.get("WEIR_BROKER", "tcp://127.0.0.1:7710"), help="the broker's endpoint")
    parser.add_argument("--key-file", default=os.environ.get("WEIR_KEY_FILE"), help="your key, NAME.key_secret, for a broker with keys")
    parser.add_argument("--broker-key", default=os.environ.get("WEIR_BROKER_KEY"), help="the broker's key, NAME.key")
    parser.add_argument("--label", required=True, help="a label's name or number")
    parser.add_argument("--count", type=int, default=1, help="samples, with the seeds SEED, SEED+1, …")
    parser.add_argument("--seed", type=int, default=0, help="the first sample's seed")
    parser.add_argument("--out", default=".", help="the folder to write to")
    arguments = parser.parse_args()
    if bool(arguments.key_file) != bool(arguments.broker_key):
        parser.error("--key-file and --broker-key go together")

    broker = Broker(arguments.broker, arguments.key_file, arguments.broker_key)
    submission = pb.Submit(
        runs=[pb.SampleRun(label=arguments.label, seed=arguments.seed, count=arguments.count)],
        key=secrets.token_hex(16),  # however often this is sent, it is one job
    )
    try:
        job = submit(broker, submission)
        status = watch(broker, job)
        os.makedirs(arguments.out, exist_ok=True)
        for sample in status.details:
            if sample.state != pb.DONE:
                print(f"sample {sample.index} failed in {sample.stage}: {sample.error}", file=sys.stderr)
                continue
            _, tensor = fetch(broker, job, sample.index)
            path = os.path.join(arguments.out, f"{job:016x}-{sample.index}.png")
            picture(tensor).save(path)
            print(path)
        sys.exit(0 if status.state == pb.DONE else 1)
    except Refused as error:
        sys.exit(f"refused: {error}")
    except TimeoutError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
