// The SDK's parts, as the settings name them.

import { defaultResource, type Resource, resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOffSampler, AlwaysOnSampler, ParentBasedSampler, type Sampler, TraceIdRatioBasedSampler
} from '@opentelemetry/sdk-trace'
import { ATTR_SERVICE_VERSION } from '@opentelemetry/semantic-conventions'
import type { TracingSettings } from '../config/tracing.ts'

export function resourceOf ({ resource }: TracingSettings, version: string): Resource {
  return defaultResource().merge(resourceFromAttributes({ [ATTR_SERVICE_VERSION]: version, ...resource }))
}

export function samplerOf ({ sampler, ratio }: Pick<TracingSettings, 'sampler' | 'ratio'>): Sampler {
  const root = sampler.endsWith('traceidratio')
    ? new TraceIdRatioBasedSampler(ratio)
    : sampler.endsWith('always_off') ? new AlwaysOffSampler() : new AlwaysOnSampler()
  return sampler.startsWith('parentbased') ? new ParentBasedSampler({ root }) : root
}
