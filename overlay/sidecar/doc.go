// Package sidecar runs a node beside a service: it says what instance runs ([Identify]), where the service listens
// ([Upstream]), starts and stops it ([Command]), and joins its cell for as long as it is well ([Sidecar]).
package sidecar
