// A peer of another make: js-libp2p with Helia's Bitswap, DHT and UnixFS, on the loopback alone.
//
// `node peer.mjs DIR` serves the blocks in DIR/hold, files named by their CIDs, and says on stdout where it listens.
// It then does what it is told on stdin, one JSON command a line, answers each with one JSON line, and ends with stdin:
//
//   {"dial": ADDRESS}        connects to a peer
//   {"get": CID}             fetches a block over Bitswap into DIR/got/CID
//   {"read": CID}            fetches a UnixFS file, block by block, into DIR/got/CID
//   {"add": PATH}            cuts a file as the profile unixfs-v1-2025 does, holds its blocks and says its root
//   {"provide": CID}         tells the DHT that the block is here
//   {"find": CID}            asks the DHT who has it

import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { createBitswap } from '@helia/bitswap'
import { identify } from '@libp2p/identify'
import { kadDHT } from '@libp2p/kad-dht'
import { defaultLogger } from '@libp2p/logger'
import { multiaddr } from '@multiformats/multiaddr'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { MemoryBlockstore } from 'blockstore-core'
import { exporter } from 'ipfs-unixfs-exporter'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { createLibp2p } from 'libp2p'
import { CID } from 'multiformats/cid'

const PATIENCE = 60_000
const directory = process.argv[2]
await mkdir(`${directory}/got`, { recursive: true })
const held = new MemoryBlockstore()
for (const name of await readdir(`${directory}/hold`)) {
  await held.put(CID.parse(name), await readFile(`${directory}/hold/${name}`))
}

const libp2p = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    ping: ping(),
    dht: kadDHT({ protocol: '/ipfs/lan/kad/1.0.0', clientMode: false, peerInfoMapper: (peer) => peer })
  }
})
const bitswap = createBitswap({
  blockstore: held,
  libp2p,
  logger: defaultLogger(),
  // Nobody is looked for but those who are connected.
  routing: { async * findProviders () {} }
})
await bitswap.start()

// Blocks that are held, and all others from whoever is connected.
async function block (cid) {
  if (await held.has(cid)) {
    const parts = []
    for await (const part of held.get(cid)) parts.push(part)
    return Buffer.concat(parts)
  }
  const bytes = await bitswap.want(cid, { signal: AbortSignal.timeout(PATIENCE) })
  const digest = createHash('sha256').update(bytes).digest()
  if (!digest.equals(Buffer.from(cid.multihash.digest))) throw new Error(`${cid} came with other bytes`)
  return bytes
}

const anywhere = {
  async * get (cid) { yield await block(cid) }
}

const commands = {
  async dial (address) {
    const connection = await libp2p.dial(multiaddr(address))
    return connection.remotePeer.toString()
  },
  async get (cid) {
    const bytes = await block(CID.parse(cid))
    await writeFile(`${directory}/got/${cid}`, bytes)
    return bytes.length
  },
  async read (cid) {
    const file = await exporter(CID.parse(cid), anywhere)
    await pipeline(Readable.from(file.content()), createWriteStream(`${directory}/got/${cid}`))
    return Number(file.size ?? 0n)
  },
  async add (path) {
    const options = {
      cidVersion: 1,
      rawLeaves: true,
      reduceSingleLeafToSelf: true,
      chunker: fixedSize({ chunkSize: 1 << 20 }),
      layout: balanced({ maxChildrenPerNode: 1024 })
    }
    for await (const entry of importer({ content: createReadStream(path) }, held, options)) {
      return entry.cid.toString()
    }
  },
  async provide (cid) {
    await libp2p.contentRouting.provide(CID.parse(cid), { signal: AbortSignal.timeout(PATIENCE) })
    return true
  },
  async find (cid) {
    const found = []
    for await (const peer of libp2p.contentRouting.findProviders(CID.parse(cid), { signal: AbortSignal.timeout(PATIENCE) })) {
      found.push(peer.id.toString())
    }
    return found
  }
}

const say = (value) => console.log(JSON.stringify(value))
say({ listening: libp2p.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  const [[name, argument]] = Object.entries(JSON.parse(line))
  try {
    say({ [name]: await commands[name](argument) })
  } catch (error) {
    say({ error: `${name} ${argument}: ${error.message}` })
  }
}
process.exit(0)
