// The settings in effect, for one line at the start. By allow-list: no secret, no address but upstream's.

import type { Config } from './environment.ts'

export function settingsOf (config: Config): Readonly<Record<string, unknown>> {
  const { upstream, calls, listen, ops, trustProxy, tracing } = config
  return {
    upstream: upstream.baseUrl.href,
    key: 'file' in upstream.key ? 'file' : 'variable',
    auth_scheme: upstream.authScheme,
    mint_api: upstream.mintApi,
    calls_api: upstream.callsApi,
    upstream_timeout_ms: upstream.timeoutMs,
    upstream_concurrency: upstream.concurrency,
    call_setup_ms: calls.setupMs,
    calls_max: calls.max,
    realtime_public_url: config.realtimePublicUrl,
    policy_file: config.policyFile,
    port: listen.port,
    ops_port: ops?.port ?? null,
    cors_origins: [...config.origins.values()],
    trust_proxy: trustProxy,
    keep_alive_ms: config.keepAliveMs,
    address_limit_per_minute: config.addressLimitPerMinute,
    limits: config.redis === null ? 'memory' : 'redis',
    on_redis_loss: config.onRedisLoss,
    has_safety_identifier_secret: config.safetyIdentifierSecret !== null,
    has_admin_token: config.adminToken !== null,
    audit_file: config.auditFile,
    drain_ms: config.drainMs,
    log_level: config.logLevel,
    log_level_file: config.logLevelFile,
    traces: tracing === null
      ? null
      : { to: tracing.url.origin, protocol: tracing.protocol, sampler: tracing.sampler }
  }
}
