//! What a group's servers are made from: a launch template, or a mixed-instances policy whose overrides may set the image.

use super::super::{query::Node, refusal::Refusal};
use crate::model::Region;

/// Read from `LaunchTemplate` or `MixedInstancesPolicy`.
#[derive(Debug, Clone)]
pub struct Source {
    /// The template's id, whatever it was named by.
    pub template: String,
    pub version: String,
    pub image_override: Option<String>,
    pub instance_types: Vec<String>,
    pub mixed: bool,
}

/// The source named in a request, if any.
///
/// # Errors
/// `ValidationError` as AWS words it: both kinds at once, an unknown template or version, an image that does not exist.
pub fn parse(region: &Region, params: Node<'_>) -> Result<Option<Source>, Refusal> {
    let source = match (params.child("LaunchTemplate"), params.child("MixedInstancesPolicy")) {
        (Some(_), Some(_)) => {
            let told = "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or \
                        MixedInstancesPolicy parameter.";
            return Err(Refusal::validation(told));
        }
        (None, None) => return Ok(None),
        (Some(plain), None) => specification(region, plain)?,
        (None, Some(policy)) => mixed(region, policy)?,
    };
    // AWS tries the template when the group is made; an override's image it meets only when it launches (not verified).
    if source.image_override.is_none()
        && let Some(image) = image(region, &source.template, &source.version)
        && !region.images.contains_key(image)
    {
        let told = format!("{FULLY_FORMED} The image id '[{image}]' does not exist");
        return Err(Refusal::validation(told));
    }
    Ok(Some(source))
}

const FULLY_FORMED: &str = "You must use a valid fully-formed launch template.";

fn mixed(region: &Region, policy: Node<'_>) -> Result<Source, Refusal> {
    let launch = policy.child("LaunchTemplate");
    let launch = launch.ok_or_else(|| Refusal::validation("MixedInstancesPolicy must have a LaunchTemplate"))?;
    let spec = launch.child("LaunchTemplateSpecification");
    let spec = spec.ok_or_else(|| Refusal::validation("LaunchTemplate must have a LaunchTemplateSpecification"))?;
    let overrides = launch.list("Overrides");
    let texts = |key: &str| overrides.iter().filter_map(|node| node.text(key).map(str::to_owned)).collect::<Vec<_>>();
    Ok(Source {
        image_override: texts("ImageId").into_iter().next(),
        instance_types: texts("InstanceType"),
        mixed: true,
        ..specification(region, spec)?
    })
}

fn specification(region: &Region, spec: Node<'_>) -> Result<Source, Refusal> {
    let (id, name) = (spec.text("LaunchTemplateId"), spec.text("LaunchTemplateName"));
    let found = match (id, name) {
        (Some(id), None) => region.launch_templates.get(id),
        (None, Some(name)) => region.launch_templates.values().find(|template| template.name == name),
        _ => return Err(Refusal::validation("Either the launch template ID or the launch template name must be specified")),
    };
    let shown = id.or(name).unwrap_or_default();
    let template = found.ok_or_else(|| {
        Refusal::validation(format!("{FULLY_FORMED} The specified launch template, with template ID {shown}, does not exist."))
    })?;
    let version = spec.text("Version").unwrap_or("$Default");
    if template.number(version).is_none() {
        let told = format!("{FULLY_FORMED} Could not find the specified version {version} for the launch template {shown}.");
        return Err(Refusal::validation(told));
    }
    Ok(Source {
        template: template.id.clone(),
        version: version.to_owned(),
        image_override: None,
        instance_types: Vec::new(),
        mixed: false,
    })
}

fn image<'a>(region: &'a Region, template: &str, version: &str) -> Option<&'a String> {
    let template = region.launch_templates.get(template)?;
    template.versions.get(&template.number(version)?)
}
