"use strict";

// Starts `initdsl lsp` and speaks with it. Everything the language knows is on the server's side.

const { spawn } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const vscode = require("vscode");
const { CloseAction, LanguageClient } = require("vscode-languageclient/node");

// so much of what a server says before it ends is shown
const MOST = 300;
const PATIENCE = 1000;
const PROGRAMS = [".venv/bin/initdsl", ".venv/Scripts/initdsl.exe"];

let client;

/** The program, its arguments and its folder. A relative path starts at the workspace folder; its `.venv` goes first. */
function command() {
  const { defaultValue, globalValue, workspaceValue } = vscode.workspace.getConfiguration("initdsl").inspect("command");
  let [program, ...args] = workspaceValue ?? globalValue ?? defaultValue;
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath;
  if (folder && !workspaceValue && !globalValue) {
    program = PROGRAMS.find((one) => fs.existsSync(path.join(folder, one))) ?? program;
  }
  const relative = /[\\/]/.test(program) && !path.isAbsolute(program);
  return { program: relative && folder ? path.join(folder, program) : program, args, folder };
}

/** A client that leaves it to `start` to tell why a server did not start. */
class Client extends LanguageClient {
  error(message, data, show) {
    super.error(message, data, this.started ? show : false);
  }
}

async function start() {
  const settings = vscode.workspace.getConfiguration("initdsl");
  // the program may be one of the workspace, so it runs where the workspace is trusted
  if (!settings.get("enable") || !vscode.workspace.isTrusted || !settings.get("command").length) {
    return;
  }
  const { program, args, folder } = command();
  let said = "";
  let ended;
  const end = new Promise((_, reject) => (ended = reject));
  let server;
  const serve = async () => {
    server = spawn(program, args, { cwd: folder });
    server.stderr.on("data", (data) => (said = (said + data).slice(-MOST)));
    server.on("error", ended);
    server.on("close", (code) => ended(new Error(said.trim() || `it ended with code ${code}`)));
    return server;
  };
  const started = new Client("initdsl", "initdsl", serve, {
    documentSelector: [{ language: "initdsl" }],
    initializationFailedHandler: () => false,
    errorHandler: {
      error: (...what) => usual.error(...what),
      closed: () => (started.started ? usual.closed() : { action: CloseAction.DoNotRestart, handled: true }),
    },
  });
  const usual = started.createDefaultErrorHandler();
  client = started;
  try {
    // a pipe breaks before the program has said why
    const broken = (error) => Promise.race([end, new Promise((_, reject) => setTimeout(reject, PATIENCE, error))]);
    await Promise.race([started.start().catch(broken), end]);
    if (!started.isRunning()) {
      await broken(new Error("it ended"));
    }
    started.started = true;
  } catch (error) {
    server?.kill();
    if (client !== started) {
      return; // stopped meanwhile
    }
    client = undefined;
    const setting = "Open the setting";
    const chosen = await vscode.window.showWarningMessage(
      `The language server \`${program}\` did not start: ${error.message ?? error}. ` +
        "Install initdsl with its extra `lsp`, or set `initdsl.command`.",
      setting,
    );
    if (chosen === setting) {
      vscode.commands.executeCommand("workbench.action.openSettings", "initdsl.command");
    }
  }
}

async function stop() {
  const running = client;
  client = undefined;
  if (running?.started) {
    await running.stop();
  }
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
