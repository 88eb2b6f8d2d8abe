// Package source reads a cell's repository at a tag: which commit it is, the Cell.toml and interface files in it, and
// the seed list. It also reads the checkout that a command stands in ([ReadCheckout]).
//
// A repository is read in one of two ways. An https host that speaks application/vnd.cell+json answers with one GET; for
// every other the git command does it. Git is handed addresses that manifest.FetchURL has passed and nothing else, runs
// without hooks, submodules, prompts or a work tree, in a scrubbed environment, bounded in time and bytes, and its
// process group is killed when the caller gives up. Files are taken from git's object store by walking trees; a link or
// a submodule is refused, not followed.
//
// What was read stays below Config.CacheDir, which is safe to delete at any time: manifests by commit for good, the
// commit of a tag and seed lists to fall back on. When a host cannot be reached, the newest known answer is given and
// marked as stale.
package source
