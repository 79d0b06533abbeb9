/** Sources without a test of the same name, and the test that runs them. Keep it short. */
export const TESTED_THROUGH: Readonly<Record<string, string>> = {};
