// What is asked of the browser's half: eslint's own recommendations, and what keeps its files fit to be joined.

import js from "@eslint/js";
import globals from "globals";

const AMBIGUOUS = ["event", "model", "name", "open", "stop", "top"];

export default [
  { ignores: [".venv/", ".cache/"] },
  js.configs.recommended,
  {
    files: ["app/components/**/*.js", "drawing/**/*.js"],
    languageOptions: { sourceType: "module", ecmaVersion: 2024, globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      "no-var": "error",
      "prefer-const": "error",
      "no-misleading-character-class": ["error", { allowEscape: true }],
      "no-unused-vars": ["error", { args: "all", argsIgnorePattern: "^_$" }],
      // Files share one scope once they are joined: what one of them declares must not be a global that another uses.
      "no-shadow": ["error", { builtinGlobals: true, hoist: "all", allow: AMBIGUOUS }],
      "no-restricted-globals": ["error", ...AMBIGUOUS],
      "no-restricted-syntax": [
        "error",
        {
          selector: ":matches(Program, ExportNamedDeclaration) > VariableDeclaration[declarations.length!=1]",
          message: "Declare one name a line here: join_modules reads the first.",
        },
        {
          selector: ":matches(Program, ExportNamedDeclaration) > VariableDeclaration > VariableDeclarator > .id:not(Identifier)",
          message: "Declare plain names here: join_modules reads no patterns.",
        },
      ],
    },
  },
];
