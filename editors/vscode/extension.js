"use strict";

// Starts `initdsl lsp` and speaks with it. Everything the language knows is on the server's side.

const fs = require("node:fs");
const path = require("node:path");
const vscode = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

let client;

/** The program and arguments of the settings; a relative path starts at the workspace folder. */
function command() {
  const [program, ...args] = vscode.workspace.getConfiguration("initdsl").get("command");
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath;
  const relative = /[\\/]/.test(program) && !path.isAbsolute(program);
  return { command: relative && folder ? path.join(folder, program) : program, args, options: { cwd: folder } };
}

async function start() {
  const settings = vscode.workspace.getConfiguration("initdsl");
  // the program may be one of the workspace, so it runs where the workspace is trusted
  if (!settings.get("enable") || !vscode.workspace.isTrusted || !settings.get("command").length) {
    return;
  }
  const run = { ...command(), transport: TransportKind.stdio };
  client = new LanguageClient("initdsl", "initdsl", { run, debug: run }, {
    documentSelector: [{ language: "initdsl" }],
  });
  try {
    await client.start();
  } catch (error) {
    client = undefined;
    vscode.window.showWarningMessage(
      `The language server \`${run.command}\` did not start (${error.message}). ` +
        "Install initdsl with its extra `lsp`, or set `initdsl.command`.",
    );
  }
}

async function stop() {
  const running = client;
  client = undefined;
  await running?.stop();
}

/** Opens a new rule file with some rules to change. */
async function newFile(context) {
  const content = fs.readFileSync(path.join(context.extensionPath, "walkthrough", "first.init"), "utf-8");
  const document = await vscode.workspace.openTextDocument({ language: "initdsl", content });
  await vscode.window.showTextDocument(document);
}

async function activate(context) {
  const restart = async () => {
    await stop();
    await start();
  };
  context.subscriptions.push(
    vscode.commands.registerCommand("initdsl.newFile", () => newFile(context)),
    vscode.commands.registerCommand("initdsl.restart", restart),
    vscode.workspace.onDidGrantWorkspaceTrust(restart),
    vscode.workspace.onDidChangeConfiguration((change) => change.affectsConfiguration("initdsl") && restart()),
  );
  await start();
}

module.exports = { activate, deactivate: stop };
