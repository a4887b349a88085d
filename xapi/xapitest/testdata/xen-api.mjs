// What a program on the npm package xen-api does with a pool: node xen-api.mjs URL TRANSPORT VM DISK, where TRANSPORT is
// json-rpc, xml-rpc or auto, VM a running machine's name and DISK the raw file of its disk. It prints "content" and exits
// with 0 when all is as that package expects.
import assert from 'node:assert/strict'
import { createReadStream, readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { createClient } from 'xen-api'

const [url, transport, name, disk] = process.argv.slice(2)
const options = { url, transport, allowUnauthorized: true, debounce: 10, watchEvents: true }
const fails = (promise, code, params) =>
  assert.rejects(promise, error => {
    assert.equal(error.code, code)
    if (params !== undefined) assert.deepEqual(error.params, params)
    return true
  })

// When something does not come, say what.
let step = 'connect'
void setTimeout(120_000).then(() => {
  console.error('stuck at: ' + step)
  process.exit(1)
})

// connect
const wrong = createClient({ ...options, url: url.replace('simulated-secret@', 'wrong@'), watchEvents: false })
await fails(wrong.connect(), 'SESSION_AUTHENTICATION_FAILED')
const xapi = createClient(options)
await xapi.connect()
await xapi.objectsFetched
assert.equal(xapi.status, 'connected')
assert.equal(xapi.pool.$master.enabled, true)
const vm = Object.values(xapi.objects.all).find(o => o.$type === 'VM' && o.name_label === name)
assert.equal(vm.power_state, 'Running')
assert.deepEqual(vm.tags, ['prod'])
assert.equal(vm.$VBDs[0].$VDI.$SR.$PBDs[0].currently_attached, true)
assert.equal(vm.$resident_on.$ref, xapi.pool.master)

// events and barriers
step = 'events and barriers'
const updated = new Promise(resolve => xapi.objects.on('update', changes => vm.$id in changes && resolve()))
await vm.set_name_description('été <&> \u{1f600}')
await updated
await vm.update_other_config('xo:test', 'a b')
await vm.update_other_config('xo:test', 'c')
const now = await xapi.barrier(vm.$ref)
assert.equal(now.name_description, 'été <&> \u{1f600}')
assert.equal(now.other_config['xo:test'], 'c')
await vm.update_other_config('xo:test', null)
assert.equal('xo:test' in (await xapi.barrier(vm.$ref)).other_config, false)

// tasks
step = 'tasks'
const snapshotRef = await xapi.callAsync('VM.snapshot', vm.$ref, 'by xen-api')
const snapshot = await xapi.barrier(snapshotRef)
assert.equal(snapshot.is_a_snapshot, true)
assert.equal(snapshot.$snapshot_of.$ref, vm.$ref)
const before = snapshot.$VBDs[0].$VDI
assert.equal(Number(before.virtual_size), readFileSync(disk).length) // a string over XML-RPC

// errors
step = 'errors'
await fails(xapi.call('VM.get_record', 'OpaqueRef:nothing'), 'HANDLE_INVALID', ['VM', 'OpaqueRef:nothing'])
await fails(xapi.callAsync('VM.start', vm.$ref, false, false), 'VM_BAD_POWER_STATE', [vm.$ref, 'halted', 'running'])
await fails(xapi.call('VM.no_such_call'), 'MESSAGE_METHOD_UNKNOWN')

// downloads and uploads
step = 'downloads and uploads'
const download = async query => {
  const response = await xapi.getResource('/export_raw_vdi/', { query })
  const chunks = []
  for await (const chunk of response.body) chunks.push(chunk)
  await response.task
  return Buffer.concat(chunks)
}
const content = await download({ format: 'raw', vdi: before.$ref })
assert.ok(content.equals(readFileSync(disk)), 'the exported disk differs from the file')
await assert.rejects(xapi.getResource('/export_raw_vdi/', { query: { format: 'cow', vdi: before.$ref } }), /unexpected 404/)
const sr = before.SR
const blank = () =>
  xapi.call('VDI.create', {
    name_label: 'uploaded', other_config: {}, read_only: false, sharable: false, SR: sr, type: 'user',
    virtual_size: String(content.length),
  })
const raw = await blank()
assert.equal(await xapi.putResource(content, '/import_raw_vdi/', { query: { format: 'raw', vdi: raw } }), raw)
assert.ok((await download({ format: 'raw', vdi: raw })).equals(content), 'what was uploaded differs')
const vhd = await download({ format: 'vhd', vdi: before.$ref })
const streamed = await blank()
const stream = createReadStream(disk)
stream.length = content.length
assert.equal(await xapi.putResource(stream, '/import_raw_vdi/', { query: { format: 'raw', vdi: streamed } }), streamed)
const copy = await blank()
assert.equal(await xapi.putResource(vhd, '/import_raw_vdi/', { query: { format: 'vhd', vdi: copy } }), copy)
assert.ok((await download({ format: 'raw', vdi: copy })).equals(content), 'a VHD does not make a round trip')
const cut = xapi.putResource(vhd.subarray(0, vhd.length - 512), '/import_raw_vdi/', { query: { format: 'vhd', vdi: await blank() } })
await assert.rejects(cut)

// a session that ends is renewed, and events go on; meanwhile calls of this client can fail and its barriers be forgotten
step = 'a session that ends'
const until = async condition => {
  while (!(await Promise.race([condition().catch(() => false), setTimeout(1000, false)]))) await setTimeout(10)
}
await xapi._call('session.logout', [xapi.sessionId])
await until(async () => (await xapi.call('VM.set_name_label', vm.$ref, name + ' renamed')) !== false)
await until(async () => (await xapi.barrier(vm.$ref)).name_label === name + ' renamed')
await xapi.disconnect()
assert.equal(xapi.status, 'disconnected')
console.log('content')
process.exit(0)
