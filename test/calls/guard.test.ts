// Changes by a client in a call, and their corrections, over real sockets.

import t from 'tap'
import type { JsonObject } from '../../src/json.ts'
import {
  errorEvent, itemAdded, itemDeleted, outputAudio, outputItemAdded, responseCreated
} from '../support/call-events.ts'
import { AUDIO_OFFER } from '../support/sdp.ts'
import { READ, startGuarded, update, withRules } from './guarded.ts'

t.test('call: restore: the field that differs is sent again, and no other', async (t) => {
  const { app, call, path, seen, sent, changes } = await startGuarded(t)
  call.change({ instructions: 'You are Bob.', tools: [{ type: 'function', name: 'f' }] })
  await seen()
  t.same(sent(), [update({ instructions: 'You are Ada.', tools: [] })])
  t.match(call.session(), { instructions: 'You are Ada.', tools: [] })
  t.same(changes(), [['restored', ['instructions', 'tools']]])
  await seen()
  t.same(sent(), [], 'once')
  await app.hangUp(path)
  t.match(await app.wrote('call.ended'), [{ reason: 'client', changes: 1 }])
  t.match(app.lines('call.changed'), [{
    call_id: path.split('/').at(-1), upstream_call_id: call.id, issuer: String, policy: 'pro', kind: 'realtime'
  }])
})

t.test('call: restore: a field of audio goes alone, and as a whole', async (t) => {
  const { call, seen, sent, changes } = await startGuarded(t, withRules(`
fixed:
  audio: { input: { turn_detection: { type: server_vad, threshold: 0.7 }, noise_reduction: { type: near_field } } }`))
  call.change({ audio: { input: { turn_detection: { type: 'server_vad', threshold: 0.1 } } } })
  await seen()
  t.same(sent(), [update({ audio: { input: { turn_detection: { type: 'server_vad', threshold: 0.7 } } } })])
  t.same(changes(), [['restored', ['audio.input.turn_detection.threshold']]])
})

t.test('call: restore: a field that the client may change goes back to its last allowed value', async (t) => {
  const { call, seen, sent, changes } = await startGuarded(t)
  call.change({ audio: { output: { voice: 'cedar' } } })
  await seen()
  t.same(sent(), [])
  t.same(changes(), [])
  call.change({ audio: { output: { voice: 'ash' } } })
  await seen()
  t.same(sent(), [update({ audio: { output: { voice: 'cedar' } } })])
})

t.test('call: restore: what the policy does not name is emptied, or as upstream reported it at first', async (t) => {
  const { call, seen, sent } = await startGuarded(t, withRules('fixed: { max_output_tokens: 100 }'))
  call.change({ instructions: 'Mine.', prompt: { id: 'pmpt_1' }, audio: { input: { transcription: { model: 'w' } } } })
  await seen()
  t.same(sent(), [update({ instructions: '', prompt: null, audio: { input: { transcription: null } } })])
  call.change({ audio: { output: { speed: 1.2 }, input: { turn_detection: null } } })
  await seen()
  t.match(sent(), [update({ audio: { output: { speed: 1 }, input: { turn_detection: { type: 'server_vad' } } } })])
  await seen()
  t.same(sent(), [], 'an empty value that we sent is ours')
})

t.test('call: restore: the fourth within a minute ends the call', async (t) => {
  const { app, call, seen, sent, changes } = await startGuarded(t)
  for (let i = 0; i < 3; i++) {
    call.change({ instructions: 'You are Bob.' })
    await seen()
    t.same(sent(), [update({ instructions: 'You are Ada.' })])
  }
  call.change({ instructions: 'You are Bob.' })
  t.match(await app.wrote('call.ended'), [{ reason: 'policy_change', changes: 4 }])
  t.same(changes().map(([did]) => did), ['restored', 'restored', 'restored', 'ended'])
})

t.test('call: restore: three within a minute, and three more in the next, go on', async (t) => {
  const { app, call, path, seen } = await startGuarded(t, { calls: '{ idle_seconds: 300 }' })
  for (let i = 0; i < 6; i++) {
    call.change({ instructions: 'You are Bob.' })
    await seen()
    await app.pass(20_001)
  }
  t.match((await app.get(path)).body, { status: 'live' })
  t.equal(call.session().instructions, 'You are Ada.')
})

t.test('call: end: the first change ends the call, what is allowed does not', async (t) => {
  const { app, call, path, seen, changes } = await startGuarded(t, { calls: '{ on_change: end }' })
  call.change({ audio: { output: { voice: 'cedar' } } })
  await seen()
  t.match((await app.get(path)).body, { status: 'live' })
  call.change({ instructions: 'You are Bob.' })
  t.match(await app.wrote('call.ended'), [{ reason: 'policy_change', changes: 1, hangup_confirmed: true }])
  t.same(changes(), [['ended', ['instructions']]])
})

t.test('call: report: only counted and written, each value once', async (t) => {
  const { app, call, path, seen, sent, changes } = await startGuarded(t, { calls: '{ on_change: report }' })
  call.change({ instructions: 'You are Bob.' })
  await seen()
  call.change({ audio: { output: { voice: 'cedar' } } })
  await seen()
  t.same(sent(), [])
  t.same(changes(), [['reported', ['instructions']]])
  call.change({ instructions: 'You are Eve.' })
  await seen()
  call.change({ instructions: 'You are Ada.' })
  await seen()
  t.same(changes(), [['reported', ['instructions']], ['reported', ['instructions']]])
  t.equal(call.session().instructions, 'You are Ada.')
  await app.hangUp(path)
  t.match(await app.wrote('call.ended'), [{ reason: 'client', changes: 2 }])
})

for (const [name, before, change] of [
  ['the voice after it was heard', [outputAudio('started')], { audio: { output: { voice: 'ash' } } }],
  ['what the policy has no value for', [], { reasoning: { effort: 'low' } }]
] as const) {
  for (const onChange of ['restore', 'end']) {
    t.test(`call: ${onChange}: ${name} ends the call`, async (t) => {
      const { app, call, sent } = await startGuarded(t, { calls: `{ on_change: ${onChange} }` })
      call.push(...before)
      call.change(change)
      t.match(await app.wrote('call.ended'), [{ reason: 'policy_change' }])
      t.same(sent(), [])
    })
  }
}

t.test('call: while a restore is waited for nothing is sent; then the last session is checked', async (t) => {
  const { app, call, path, seen, sent } = await startGuarded(t, { calls: '{ idle_seconds: 300 }' })
  call.on('session.update', () => {})
  call.change({ instructions: 'You are Bob.' })
  await seen()
  t.equal(sent().length, 1)
  call.change({ tools: [{ type: 'function', name: 'f' }] })
  await seen()
  t.same(sent(), [])
  await app.pass(5000)
  t.same(sent(), [update({ instructions: 'You are Ada.', tools: [] })], 'after 5 s')
  call.change({ instructions: 'You are Ada.', tools: [] })
  await seen()
  await app.pass(5000)
  t.same(sent(), [], 'reported as sent')
  t.match((await app.get(path)).body, { status: 'live' })
})

t.test('call: an upstream that does not do what we say: the call ends, after three times', async (t) => {
  const { app, call, sent } = await startGuarded(t, { calls: '{ idle_seconds: 300 }' })
  call.on('session.update', () => {})
  call.change({ instructions: 'You are Bob.' })
  await app.settle()
  await app.pass(20_000)
  t.match(await app.wrote('call.ended'), [{ reason: 'policy_change', changes: 2 }])
  t.equal(sent().filter(({ type }) => type === 'session.update').length, 3)
})

t.test('call: a client that corrects us at once each time does not loop', async (t) => {
  const { app, call, sent } = await startGuarded(t)
  call.on('session.update', ({ session }) => {
    call.change(session as JsonObject)
    call.change({ instructions: 'You are Bob.' })
  })
  call.change({ instructions: 'You are Bob.' })
  t.match(await app.wrote('call.ended'), [{ reason: 'policy_change' }])
  t.equal(sent().filter(({ type }) => type === 'session.update').length, 3)
})

t.test('call: an error that names an event of ours ends the call, another does not', async (t) => {
  const { app, call, path, seen } = await startGuarded(t)
  call.push(errorEvent('invalid_value', 'of_the_client'), errorEvent('invalid_value'))
  await seen()
  t.match((await app.get(path)).body, { status: 'live' })
  call.on('session.update', ({ event_id: id }) => call.push(errorEvent('cannot_update_voice', id as string)))
  call.change({ audio: { output: { voice: 'ash' } } })
  t.match(await app.wrote('call.ended'), [{ reason: 'policy_change' }])
})

t.test('call: read every 20 s once anyone was there: a change that upstream does not report is found', async (t) => {
  const { app, call, seen, sent, changes } = await startGuarded(t, { calls: '{ idle_seconds: 300 }' })
  await app.pass(20_000)
  t.same(sent(), [], 'no client has joined')
  call.change({ tools: [{ type: 'function', name: 'f' }] }, false)
  await seen()
  t.same(changes(), [])
  await app.pass(20_000)
  await seen()
  t.same(sent().map(({ session }) => JSON.stringify(session)), [READ, '{"type":"realtime","tools":[]}'])
  t.same(changes(), [['restored', ['tools']]])
  t.same(call.session().tools, [])
})

t.test('call: a call without a data channel is not read', async (t) => {
  for (const calls of ['{ idle_seconds: 300, data_channel: false }', '{ idle_seconds: 300 }']) {
    const { app, seen, sent } = await startGuarded(t, { calls }, AUDIO_OFFER)
    await seen()
    await app.pass(100_000)
    t.same(sent(), [])
  }
})

t.test('call: after the sideband was reopened the session is read again and compared', async (t) => {
  const { app, call, seen, sent, changes } = await startGuarded(t)
  call.change({ instructions: 'You are Bob.' }, false)
  call.drop()
  call.change({ tools: [{ type: 'function', name: 'f' }] }, false)
  await app.upstream.attached(call.id, 2)
  await seen()
  t.same(sent().map(({ session }) => JSON.stringify(session)), [READ, '{"type":"realtime","tools":[]}'])
  t.same(changes(), [['restored', ['tools']]])
})

t.test('call: a correction that is on its way when the sideband is lost is sent again', async (t) => {
  const { app, call, seen, sent } = await startGuarded(t)
  call.on('session.update', ({ session }) => {
    call.on('session.update', (event) => call.change(event.session as JsonObject))
    if (JSON.stringify(session) !== READ) call.drop()
  })
  call.change({ tools: [{ type: 'function', name: 'f' }] })
  await app.upstream.attached(call.id, 2)
  await seen()
  t.equal(sent().filter(({ session }) => (session as JsonObject).tools !== undefined).length, 2)
  t.same(call.session().tools, [])
})

t.test('call: at most ten lines a minute, and all of them counted', async (t) => {
  const { app, call, path, seen } = await startGuarded(t, {
    calls: '{ on_change: report, idle_seconds: 300 }', env: { OPS_PORT: '0', OPS_HOST: '127.0.0.1' }
  })
  for (let i = 0; i < 15; i++) call.change({ instructions: `You are ${i}.` })
  await seen()
  t.equal(app.lines('call.changed').length, 10)
  await app.pass(60_001)
  call.change({ instructions: 'You are again.' })
  await seen()
  t.equal(app.lines('call.changed').length, 11)
  await app.hangUp(path)
  t.match(await app.wrote('call.ended'), [{ changes: 16 }])
  const opsUrl = app.logLines().find(({ msg }) => msg === 'listening')?.ops_url as string
  const text = await (await fetch(`${opsUrl}/metrics`)).text()
  t.match(text, 'ephemint_call_changes_total{did="reported",policy="pro"} 16')
})

const SILENT = withRules(`
fixed: { instructions: You are Ada. }
ignore: [instructions, tools]`, '{ idle_seconds: 300 }')

t.test('call: ignored paths are restored and counted, and are neither a strike nor a line', async (t) => {
  const { app, call, path, seen, sent, changes } = await startGuarded(t, {
    ...SILENT, env: { OPS_PORT: '0', OPS_HOST: '127.0.0.1' }
  })
  for (let i = 0; i < 6; i++) {
    call.change({ instructions: 'You are Bob.', tools: [{ type: 'function', name: 'f' }] })
    await seen()
    t.same(sent(), [update({ instructions: 'You are Ada.', tools: [] })])
  }
  t.same(changes(), [])
  await app.hangUp(path)
  t.match(await app.wrote('call.ended'), [{ reason: 'client', changes: 0 }])
  const opsUrl = app.logLines().find(({ msg }) => msg === 'listening')?.ops_url as string
  const text = await (await fetch(`${opsUrl}/metrics`)).text()
  t.match(text, 'ephemint_call_changes_total{did="ignored",policy="pro"} 6')
})

t.test('call: ignored paths that a client sets again and again do not loop for ever', async (t) => {
  const { app, call, sent } = await startGuarded(t, SILENT)
  call.on('session.update', ({ session }) => {
    call.change(session as JsonObject)
    call.change({ instructions: 'You are Bob.' })
  })
  call.change({ instructions: 'You are Bob.' })
  t.match(await app.wrote('call.ended'), [{ reason: 'policy_change' }])
  t.equal(sent().filter(({ type }) => type === 'session.update').length, 30)
})

t.test('call: under report what is ignored is counted, and not restored', async (t) => {
  const { call, seen, sent, changes } = await startGuarded(t, withRules(`
fixed: { instructions: You are Ada. }
ignore: [instructions]`, '{ on_change: report }'))
  call.change({ instructions: 'You are Bob.' })
  await seen()
  t.same([...sent(), ...changes()], [])
})

t.test('call: tracing, and what our types do not know, is reported once and never restored', async (t) => {
  for (const onChange of ['restore', 'end', 'report']) {
    const { app, call, path, seen, sent, changes } = await startGuarded(t, { calls: `{ on_change: ${onChange} }` })
    call.change({ tracing: 'auto' })
    call.change({ tracing: 'auto', brand_new: { deep: 1 } })
    await seen()
    call.change({})
    await seen()
    t.same(sent(), [])
    t.same(changes(), [['reported', ['tracing']], ['reported', ['brand_new.deep']]])
    t.match((await app.get(path)).body, { status: 'live' })
  }
})

t.test('call: a path that the policy fixes is restored also where our types do not know it', async (t) => {
  const { call, seen, sent } = await startGuarded(t, withRules('fixed: { brand_new: 1 }'))
  call.change({ brand_new: 2 })
  await seen()
  t.same(sent(), [update({ brand_new: 1 })])
})

t.test('call: null and absent are the same, and ids, model and expires_at are not compared', async (t) => {
  const { call, seen, sent, changes } = await startGuarded(t)
  const { include: _include, prompt: _prompt, ...rest } = call.session()
  const others = { object: 'x', model: 'y', expires_at: 7, client_secret: {} }
  call.push({ type: 'session.updated', session: { ...rest, ...others, reasoning: { effort: null } } })
  await seen()
  t.same([...sent(), ...changes()], [])
})

t.test('call: an error of ours in the event path counts as a loss of the sideband', async (t) => {
  const { app, call, path, seen } = await startGuarded(t)
  const deep = `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`
  const { id } = call.session()
  call.pushRaw(`{"type":"session.updated","session":{"id":"${id}","instructions":"You are Ada.","brand_new":${deep}}}`)
  await app.upstream.attached(call.id, 2)
  await seen()
  t.match((await app.get(path)).body, { status: 'live' })
  t.ok(app.logLines().some(({ msg }) => msg === 'an event of a call could not be handled'))
  await app.hangUp(path)
  t.match(await app.wrote('call.ended'), [{ reason: 'client', complete: false }])
})

t.test('call: an error of ours while a restore is waited for counts as a loss too', async (t) => {
  const { app, call, path, seen } = await startGuarded(t)
  call.on('session.update', () => {})
  call.change({ instructions: 'You are Bob.' })
  const deep = `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`
  const { id } = call.session()
  call.pushRaw(`{"type":"session.updated","session":{"id":"${id}","instructions":"You are Bob.","brand_new":${deep}}}`)
  await seen()
  call.on('session.update', ({ session }) => call.change(session as JsonObject))
  app.clock.pass(5000)
  await app.upstream.attached(call.id, 2)
  await seen()
  t.match((await app.get(path)).body, { status: 'live' })
  t.ok(app.logLines().some(({ msg, err }) => msg === 'the sideband of a call is lost' && err !== undefined))
  t.equal(call.session().instructions, 'You are Ada.')
})

const fields = (voice: string) => ({ audio: { output: { voice } } })

for (const [name, event, paths] of [
  ['another voice', responseCreated('resp_9', fields('ash')), ['response.audio.output.voice']],
  ['text where the session speaks', responseCreated('resp_9', { output_modalities: ['text'] }),
    ['response.output_modalities']],
  ['more tokens', responseCreated('resp_9', { max_output_tokens: 4000 }), ['response.max_output_tokens']],
  ['out of band', responseCreated('resp_9', { conversation_id: null }), ['response.conversation']],
  ['a tool that the session does not have',
    outputItemAdded({ id: 'i', type: 'function_call', name: 'shell', call_id: 'c' }, 'resp_9'), ['response.tools']],
  ['an MCP server', outputItemAdded({ id: 'i', type: 'mcp_call', name: 'x', server_label: 'evil' }, 'resp_9'),
    ['response.tools']],
  ['a call to an MCP server', { type: 'response.mcp_call.in_progress', item_id: 'i', response_id: 'resp_9' },
    ['response.tools']]
] as const) {
  t.test(`call: a response with ${name} is cancelled`, async (t) => {
    const { call, seen, sent, changes } = await startGuarded(t)
    call.push(event, event)
    await seen()
    t.same(sent(), [{ type: 'response.cancel', response_id: 'resp_9' }])
    t.same(changes(), [['cancelled', paths]], 'once')
  })

  t.test(`call: end: a response with ${name} ends the call; report: it is reported`, async (t) => {
    const ending = await startGuarded(t, { calls: '{ on_change: end }' })
    ending.call.push(event)
    await ending.seen()
    // The response is cancelled first, and may still report its usage.
    ending.app.clock.pass(2000)
    t.match(await ending.app.wrote('call.ended'), [{ reason: 'policy_change' }])
    t.same(ending.changes(), [['ended', paths]])
    const reporting = await startGuarded(t, { calls: '{ on_change: report }' })
    reporting.call.push(event)
    await reporting.seen()
    t.same(reporting.sent(), [])
    t.same(reporting.changes(), [['reported', paths]])
  })
}

t.test('call: responses as the session has it, or as the policy allows, are left alone', async (t) => {
  const { call, seen, sent, changes } = await startGuarded(t, withRules(`
fixed: { tools: [{ type: function, name: weather }, { type: mcp, server_label: shop, server_url: 'https://a.test' }] }
allow: { audio.output.voice: { enum: [marin, cedar] }, output_modalities: { enum: [[text]] } }`))
  call.push(
    responseCreated('resp_1', fields('cedar')), responseCreated('resp_2', { output_modalities: ['text'] }),
    responseCreated('resp_3', { output_modalities: null, max_output_tokens: null, audio: null }),
    outputItemAdded({ id: 'i1', type: 'function_call', name: 'weather', call_id: 'call_1' }),
    outputItemAdded({ id: 'i2', type: 'mcp_call', server_label: 'shop' }),
    outputItemAdded({ id: 'i3', type: 'message' }),
    { type: 'mcp_list_tools.completed', item_id: 'i4' },
    itemAdded({ id: 'i4', type: 'mcp_list_tools', server_label: 'shop' }),
    itemAdded({ id: 'i5', type: 'function_call_output', call_id: 'call_1', role: null })
  )
  await seen()
  t.same([...sent(), ...changes()], [])
  call.push(itemAdded({ id: 'i6', type: 'mcp_list_tools', server_label: 'evil', role: null }))
  await seen()
  t.same(changes(), [['cancelled', ['response.tools']]], 'another server than the session has')
})

t.test('call: with a stored prompt, which may bring tools, no tool is unknown', async (t) => {
  const { call, seen, sent, changes } = await startGuarded(t, withRules('fixed: { prompt: { id: pmpt_1 } }'))
  call.push(outputItemAdded({ id: 'i1', type: 'function_call', name: 'weather', call_id: 'call_1' }))
  await seen()
  t.same([...sent(), ...changes()], [])
})

t.test('call: a tool that follows from a change of the session is cancelled and not counted again', async (t) => {
  const { call, seen, sent, changes } = await startGuarded(t)
  call.on('session.update', () => {})
  call.change({ tools: [{ type: 'function', name: 'shell' }], max_output_tokens: 7 })
  call.push(outputItemAdded({ id: 'i1', type: 'function_call', name: 'shell', call_id: 'call_1' }, 'resp_1'))
  call.push(responseCreated('resp_2', { max_output_tokens: 7 }))
  await seen()
  t.same(sent().slice(1), [
    { type: 'response.cancel', response_id: 'resp_1' }, { type: 'response.cancel', response_id: 'resp_2' }
  ])
  t.equal(changes().length, 1)
})

t.test('call: MCP tools that are listed outside of any response are reported', async (t) => {
  const { call, seen, sent, changes } = await startGuarded(t)
  for (const what of ['in_progress', 'completed']) call.push({ type: `mcp_list_tools.${what}`, item_id: 'i1' })
  call.push({ type: 'mcp_list_tools.failed' })
  await seen()
  t.same(sent(), [])
  t.same(changes(), [['reported', ['response.tools']], ['reported', ['response.tools']]])
})

for (const [name, item, paths] of [
  ['a system message', { role: 'system' }, ['item.role']],
  ['the output of a call that was never made', { type: 'function_call_output', call_id: 'call_9', role: null },
    ['item.call_id']],
  ['an output without a call', { type: 'function_call_output', role: null }, ['item.call_id']]
] as const) {
  t.test(`call: ${name} is deleted, and that it is deleted is no change`, async (t) => {
    const { call, seen, sent, changes } = await startGuarded(t)
    call.push(itemAdded({ id: 'item_9', ...item }))
    await seen()
    t.same(sent(), [{ type: 'conversation.item.delete', item_id: 'item_9' }])
    t.same(changes(), [['deleted', paths]])
  })
}

t.test('call: a system message that cannot be named ends the call', async (t) => {
  const { app, call } = await startGuarded(t)
  call.push(itemAdded({ id: null, role: 'system' }))
  t.match(await app.wrote('call.ended'), [{ reason: 'policy_change' }])
})

t.test('call: after a gap, outputs of calls that were not seen are let pass for a minute', async (t) => {
  const { app, call, seen, sent } = await startGuarded(t, { calls: '{ idle_seconds: 300 }' })
  call.drop()
  await app.upstream.attached(call.id, 2)
  const output = { type: 'function_call_output', call_id: 'call_1', role: null }
  call.push(itemAdded({ id: 'item_1', ...output }))
  await seen()
  t.match(sent(), [{ type: 'session.update' }])
  await app.pass(60_001)
  sent()
  call.push(itemAdded({ id: 'item_2', ...output }))
  await seen()
  t.same(sent(), [{ type: 'conversation.item.delete', item_id: 'item_2' }])
})

for (const type of ['conversation.item.deleted', 'conversation.item.truncated']) {
  t.test(`call: ${type} before the client's first item ends the call`, async (t) => {
    const { app, call, changes } = await startGuarded(t)
    call.push({ ...itemDeleted('item_of_the_prompt'), type })
    t.match(await app.wrote('call.ended'), [{ reason: 'policy_change' }])
    t.same(changes(), [['ended', ['item']]])
  })

  t.test(`call: ${type} of what was seen, or after the client's first item, does not`, async (t) => {
    const { app, call, path, seen, changes } = await startGuarded(t)
    call.push(outputItemAdded({ id: 'greeting', type: 'message', role: 'assistant' }))
    call.push({ ...itemDeleted('greeting'), type }, itemAdded({ id: 'item_1' }), { ...itemDeleted('other'), type })
    call.push({ type })
    await seen()
    t.match((await app.get(path)).body, { status: 'live' })
    t.same(changes(), [])
  })
}

t.test('call: cancelling what is over is no error, an error of another kind is', async (t) => {
  const { app, call, path, seen } = await startGuarded(t)
  call.on('response.cancel', ({ event_id: id }) => call.push(errorEvent('response_cancel_not_active', id as string)))
  call.push(responseCreated('resp_1', { conversation_id: null }))
  await seen()
  t.match((await app.get(path)).body, { status: 'live' })
  call.on('response.cancel', ({ event_id: id }) => call.push(errorEvent('invalid_value', id as string)))
  call.push(responseCreated('resp_2', { conversation_id: null }))
  await seen()
  app.clock.pass(2000)
  t.match(await app.wrote('call.ended'), [{ reason: 'policy_change' }])
})

t.test('call: responses out of band: the fourth within a minute ends the call', async (t) => {
  const { app, call, seen, sent } = await startGuarded(t)
  for (let i = 0; i < 5; i++) call.push(responseCreated(`resp_${i}`, { conversation_id: null }))
  await seen()
  app.clock.pass(2000)
  t.match(await app.wrote('call.ended'), [{ reason: 'policy_change', changes: 4 }])
  t.equal(sent().filter(({ type, response_id: id }) => type === 'response.cancel' && id !== 'resp_4').length >= 3, true)
})
